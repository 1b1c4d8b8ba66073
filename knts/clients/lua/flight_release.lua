-- The leader goes, and its event will be delivered again. Guards: it gives up only what is its own.
--   KEYS[1] lease, KEYS[2] info, ARGV[1] token
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'released', '1')
return redis.call('DEL', KEYS[1])
