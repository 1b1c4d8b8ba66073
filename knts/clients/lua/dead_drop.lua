-- A dead letter is done with. Guards: the sum of bytes goes down once.
--   KEYS[1] letter, KEYS[2] index, KEYS[3] stats, ARGV[1] id
-- Returns 1, or 0 when it was not there.
local size = redis.call('HGET', KEYS[1], 'size')
if not size then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'bytes', -size)
return 1
