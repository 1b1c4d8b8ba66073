-- The leader goes. Guards: it gives up only what is its own.
--   KEYS[1] lease, KEYS[2] the model's slots, KEYS[3] its queue, KEYS[4] when those in the queue were last seen
--   ARGV[1] token
for at = 2, 4 do redis.call('ZREM', KEYS[at], ARGV[1]) end
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
