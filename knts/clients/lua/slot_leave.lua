-- include: line
-- A leader is done with its slot, or does not want one any more. Guards: it gives up only what is its own.
--   KEYS[1] line, ARGV[1] ticket, ARGV[2] lease token, ARGV[3] ms that the slot was held, or 0 when that says nothing
redis.call('ZREM', KEYS[1] .. 'slots', ARGV[2] .. ' ' .. ARGV[1])
local ms = tonumber(ARGV[3])
if ms > 0 then
  local before = tonumber(redis.call('HGET', KEYS[1] .. 'pace', 'ms') or ms)
  redis.call('HSET', KEYS[1] .. 'pace', 'ms', math.floor(0.8 * before + 0.2 * ms))
end
