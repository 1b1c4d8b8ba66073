-- A leader wants one of a model's slots. Guards: never more holders than slots over all replicas, first come first
-- served, and whoever dies frees his slot and his place within a lease.
--   KEYS[1] slots: zset token -> expiry in ms, KEYS[2] queue: zset token -> arrival, KEYS[3] seen: zset token -> expiry
--   KEYS[4] counter of arrivals
--   ARGV[1] token, ARGV[2] number of slots, ARGV[3] lease ms
-- Returns 0 when the token holds a slot, else its place in the queue, from 1.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do redis.call('ZREM', KEYS[2], dead) end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
  return 0
end
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[4]), ARGV[1])
end
redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[1])
local place = redis.call('ZRANK', KEYS[2], ARGV[1])
if place < ARGV[2] - redis.call('ZCARD', KEYS[1]) then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
  return 0
end
return place + 1
