-- include: line
-- Somebody has a short call for a model that need not be made, and wants one of its slots if it is free now. Guards:
-- never more holders than slots over all replicas, and nobody is overtaken: leaders in the line that were just seen have
-- the free slots first. It has no ticket and no place: where none is free, nothing is written.
--   KEYS[1] line, ARGV[1] what stands for its ticket, ARGV[2] lease token, ARGV[3] lease ms
-- Returns 1 when it holds a slot, until slot_leave or the end of its lease.
local line = KEYS[1]
local now = now_ms()
purge(line, now)
local _, slots = pace(line)
if redis.call('ZCARD', line .. 'slots') + redis.call('ZCARD', line .. 'seen') >= slots then return 0 end
redis.call('ZADD', line .. 'slots', now + tonumber(ARGV[3]), ARGV[2] .. ' ' .. ARGV[1])
return 1
