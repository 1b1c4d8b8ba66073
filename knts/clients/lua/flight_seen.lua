-- Listeners are still there. Guards: one that left is not brought back, and one that need not listen stays so.
--   KEYS[1] askers, KEYS[2] info, KEYS[3] lease, KEYS[4] flow
--   ARGV[1] ms until a flight is published again once more, then ask ids
-- Returns 1 when nobody leads the flight although nobody gave it up: its leader is dead, or frozen, and its event may
-- not come again for long. Of all who ask, one is told so.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', 'GT', now, ARGV[at]) end
local state, released, again = unpack(redis.call('HMGET', KEYS[2], 'state', 'released', 'again'))
if state ~= 'open' or released or redis.call('EXISTS', KEYS[3]) == 1 or redis.call('EXISTS', KEYS[4]) == 0 then return 0 end
if again and now - again < tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[2], 'again', now)
return 1
