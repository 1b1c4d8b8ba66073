-- include: line
-- A leader wants one of a model's slots. Guards: never more holders than slots over all replicas, served in the queue's
-- order, and whoever dies frees his slot within a lease and keeps nobody waiting: only leaders that were just seen count
-- as before another.
--   KEYS[1] line
--   ARGV[1] ticket, ARGV[2] lease token, ARGV[3] number of slots, ARGV[4] lease ms, ARGV[5] the virtual time that its
--   ticket had, or '': who has none any more stood in the line before (a takeover, a fallback) and stands in front
-- Returns {0 when it holds a slot, else its place from 1: how many slots must be given back before its turn comes; its
-- virtual time; ms a slot is held; slots}.
local line, ticket, slots, lease = KEYS[1], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local holder = ARGV[2] .. ' ' .. ticket
local now = now_ms()
purge(line, now)
redis.call('HSET', line .. 'pace', 'slots', slots)
local held = pace(line)
local clock = tonumber(redis.call('GET', line .. 'clock') or '0')
if redis.call('ZSCORE', line .. 'slots', holder) then
  redis.call('ZADD', line .. 'slots', now + lease, holder)
  return {0, '', held, slots}
end

local tag = tonumber(redis.call('ZSCORE', line .. 'queue', ticket) or tonumber(ARGV[5]) or clock)
redis.call('ZADD', line .. 'queue', tag, ticket)
redis.call('ZADD', line .. 'until', 'GT', now + lease, ticket)
redis.call('ZADD', line .. 'seen', now + lease, ticket)
local place = redis.call('ZRANK', line .. 'queue', ticket)
local before = redis.call('ZCARD', line .. 'slots')
for _, other in ipairs(redis.call('ZRANGE', line .. 'queue', 0, place)) do
  if other ~= ticket and redis.call('ZSCORE', line .. 'seen', other) then before = before + 1 end
end
if before >= slots then return {position(line, place, slots), tostring(tag), held, slots} end
drop(line, ticket)
redis.call('ZADD', line .. 'slots', now + lease, holder)
if tag > clock then redis.call('SET', line .. 'clock', tag) end
return {0, tostring(tag), held, slots}
