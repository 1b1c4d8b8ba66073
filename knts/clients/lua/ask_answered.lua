-- A person asks what is answered already: the ask opens and ends in one step. Guards: one ask is opened once, nobody
-- ever meets it open, and its frames are there all or not at all. It is one write, so one fsync.
--   KEYS[1] ask: hash as in ask_open.lua, ended, lives ARGV[1] ms
--   KEYS[2] frames: stream, lives ARGV[2] ms
--   ARGV[3] number n of frames, then n types and data in turn (the last is the end, its data the final object),
--   then the ask's fields and values.
-- Returns the frames' entry ids, or false when the ask exists already.
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local last = 2 + 2 * ARGV[3]
local ids = {}
for at = 4, last, 2 do ids[#ids + 1] = redis.call('XADD', KEYS[2], '*', 'type', ARGV[at], 'data', ARGV[at + 1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[1], 'status', 'ended', 'ended_by', ARGV[last], 'final', ARGV[last + 1], unpack(ARGV, last + 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return ids
