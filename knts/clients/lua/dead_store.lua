-- A dead letter. Guards: one that is delivered again is not stored twice, and none is dropped to make room.
--   KEYS[1] letter: hash of what is known of it, KEYS[2] index: zset id -> stored at (ms), KEYS[3] stats: hash
--   {bytes: of all letters here, total: stored ever}
--   ARGV[1] id, ARGV[2] size in bytes, ARGV[3] most letters, ARGV[4] most bytes, then the letter's fields and values.
-- Returns 'stored', 'again' or 'full'.
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'times', 1)
  return 'again'
end
local bytes = tonumber(redis.call('HGET', KEYS[3], 'bytes') or '0')
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) or bytes + ARGV[2] > tonumber(ARGV[4]) then return 'full' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'stored', now, 'times', 1, 'size', ARGV[2], unpack(ARGV, 5))
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('HINCRBY', KEYS[3], 'bytes', ARGV[2])
redis.call('HINCRBY', KEYS[3], 'total', 1)
return 'stored'
