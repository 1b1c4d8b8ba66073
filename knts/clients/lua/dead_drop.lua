-- A dead letter is done with. Guards: the sum of bytes goes down once; one that came again since it was read stays.
--   KEYS[1] letter, KEYS[2] index, KEYS[3] stats, ARGV[1] id, ARGV[2] how often it had come when it was read, or ''
-- Returns 1, 0 when it was not there, or -1 when it has come again.
local size = redis.call('HGET', KEYS[1], 'size')
if not size then return 0 end
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'times') ~= ARGV[2] then return -1 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'bytes', -size)
return 1
