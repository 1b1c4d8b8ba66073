-- include: line
-- A leader's event will not be delivered again. Guards: a flight that somebody still leads, or that another ask leads
-- now, is left alone.
--   KEYS[1] lease, KEYS[2] flow, KEYS[3] info, KEYS[4] final
--   ARGV[1] ask id, ARGV[2] stream ms, ARGV[3] final ms, ARGV[4] the final object of the failed flight
-- Returns 'ended', 'held' (a delivery of this ask still works on it), 'other' (not this ask's to end) or 'gone'.
local state = redis.call('HGET', KEYS[3], 'state')
if not state or redis.call('EXISTS', KEYS[2]) == 0 then return 'gone' end
if state ~= 'open' or redis.call('HGET', KEYS[3], 'leader') ~= ARGV[1] then return 'other' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'held' end
redis.call('HSET', KEYS[3], 'state', 'failed')
leader_leaves(KEYS[3])
redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[3])
redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', 'type', 'failed', 'data', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PUBLISH', KEYS[2], '')
return 'ended'
