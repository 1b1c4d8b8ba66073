-- include: line
-- All frames of an answer that needs no flight, at once. Guards: an ask ends once, so a redelivery writes nothing.
--   KEYS[1] ask hash, KEYS[2] frames, lives ARGV[1] ms more
--   ARGV[2] type of the last frame, ARGV[3] its data, ARGV[4] number n of frames before it,
--   then n types and data in turn, then fields and values to note on the ask.
-- Returns 'written', 'ended' (before, by whatever frame) or 'gone'.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or redis.call('EXISTS', KEYS[2]) == 0 then return 'gone' end
if status ~= 'open' then return 'ended' end
local notes = 5 + 2 * ARGV[4]
for at = 5, notes - 1, 2 do redis.call('XADD', KEYS[2], '*', 'type', ARGV[at], 'data', ARGV[at + 1]) end
redis.call('XADD', KEYS[2], '*', 'type', ARGV[2], 'data', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
if #ARGV >= notes then redis.call('HSET', KEYS[1], unpack(ARGV, notes)) end
redis.call('HSET', KEYS[1], 'status', 'ended', 'ended_by', ARGV[2], 'final', ARGV[3])
leave_line(KEYS[1])
redis.call('PUBLISH', KEYS[2], '')
return 'written'
