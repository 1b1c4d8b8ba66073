-- include: line
-- One frame for a waiting person. Guards: nothing follows the end, which gives up the ask's ticket; an expired stream is
-- never made again, and a redelivered event writes its frame once.
--   KEYS[1] ask hash, KEYS[2] frames stream, lives ARGV[1] ms more
--   ARGV[2] frame type, ARGV[3] frame data
--   ARGV[4] '1' when this frame ends the ask, ARGV[5] '1' when a frame of this type is written only once
--   then fields and values to note on the ask, besides `at:<type>`: when a frame was written that comes once (ms).
-- Returns 'written', 'again' (written before), 'ended' or 'gone'.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or redis.call('EXISTS', KEYS[2]) == 0 then return 'gone' end
if ARGV[5] == '1' and redis.call('HEXISTS', KEYS[1], 'once:' .. ARGV[2]) == 1 then return 'again' end
if status ~= 'open' then return 'ended' end
if ARGV[5] == '1' then redis.call('HSET', KEYS[1], 'once:' .. ARGV[2], '1') end
if #ARGV > 5 then redis.call('HSET', KEYS[1], unpack(ARGV, 6)) end
local id = redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', 'type', ARGV[2], 'data', ARGV[3])
if ARGV[5] == '1' then redis.call('HSET', KEYS[1], 'at:' .. ARGV[2], string.match(id, '%d+')) end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], 'status', 'ended', 'ended_by', ARGV[2], 'final', ARGV[3])
  leave_line(KEYS[1])
end
redis.call('PUBLISH', KEYS[2], '')
return 'written'
