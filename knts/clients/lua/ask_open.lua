-- A person starts to wait. Guards: one ask is opened once.
--   KEYS[1] ask: hash {tenant, owner, question, created, deadline, status=open|ended, once:<frame>, …}, lives ARGV[1] ms
--   KEYS[2] frames: stream of {type, data}, lives ARGV[2] ms after its last frame
--   ARGV[3] frame type, ARGV[4] frame data, then the ask's fields and values.
-- Returns the first frame's id, or false when the ask exists already.
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
redis.call('HSET', KEYS[1], 'status', 'open', unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local id = redis.call('XADD', KEYS[2], '*', 'type', ARGV[3], 'data', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return id
