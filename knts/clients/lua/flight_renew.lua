-- include: line
-- The leader is alive. Guards: a lost lease is never taken back by renewing, and the flight that nobody waits for any
-- more is cancelled in the same step that sees it, so that nobody can join in between.
--   KEYS[1] lease, KEYS[2] flow, KEYS[3] info, KEYS[4] askers, KEYS[5] final, KEYS[6] the model's slots
--   ARGV[1] token, ARGV[2] lease ms, ARGV[3] stream ms, ARGV[4] final ms, ARGV[5] grace ms of an unseen listener,
--   ARGV[6] the final object of a cancelled flight, ARGV[7] the holder of its slot, if it has one
-- Returns the number of live askers, 0 when the flight was cancelled just now, or -1 when the lease is lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local now = now_ms()
local askers = redis.call('ZCOUNT', KEYS[4], now - ARGV[5], '+inf')
if askers > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('ZADD', KEYS[6], 'XX', now + ARGV[2], ARGV[7])
  return askers
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[3], 'state', 'cancelled')
leader_leaves(KEYS[3])
redis.call('SET', KEYS[5], ARGV[6], 'PX', ARGV[4])
redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', 'type', 'cancelled', 'data', ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', KEYS[2], '')
return 0
