-- A worker takes documents whose passages want embeddings. Guards: two workers do not take the same one within a lease,
-- and one that a worker left half done comes back when its lease is over.
--   KEYS[1] zset: member a document, score the time in ms from which it may be taken
--   ARGV[1] how many at most, ARGV[2] lease ms
-- Returns members and their new scores in turn.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], now + ARGV[2], member)
  table.insert(taken, member)
  table.insert(taken, redis.call('ZSCORE', KEYS[1], member))
end
return taken
