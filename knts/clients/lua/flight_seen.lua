-- Listeners are still there. Guards: one that left is not brought back, and one that need not listen stays so.
--   KEYS[1] askers, ARGV ask ids
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, ask in ipairs(ARGV) do redis.call('ZADD', KEYS[1], 'XX', 'GT', now, ask) end
