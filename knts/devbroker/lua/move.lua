-- One step of an event's road: it is put into the streams of those who want it, and its cause leaves its own.
-- Guards: an event is in all of its streams or in none, so a 202 holds for every Trigger; a reply or dead letter is
-- stored in the same step as its cause is removed, so it is neither lost nor doubled; a full queue takes nothing.
--   KEYS[1] the cause's stream, or '' where there is none; KEYS[2] its retries: hash of entry id -> JSON
--   KEYS[3…] streams to put the event into
--   ARGV[1] group, ARGV[2] consumer, ARGV[3] most entries in a stream (0: no cap), ARGV[4] the cause's entry id
--   ARGV[5] '1' to take the cause's successor for delivery at once
--   ARGV[6] attributes, ARGV[7] data, ARGV[8] trace; ARGV[9…] for each of KEYS[3…] '1' to take an entry of it at once
-- Returns {'full', key}, {'gone'} where the cause was removed before (then nothing is stored), or
-- {'moved', per stream its taken entry or '', then the successor's or ''}. A taken entry is an id alone when it is the
-- one just put, else {id, fields}.
-- What can fail for want of memory comes first: then nothing has been written yet.
local group, consumer = ARGV[1], ARGV[2]

local function take(key, own)
  local found = redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', key, '>')
  if found and found.err then
    redis.call('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
    found = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', key, '>')
  end
  if not found or #found == 0 then return '' end
  local entry = found[1][2][1]
  if entry[1] == own then return own end
  return entry
end

local cap = tonumber(ARGV[3])
for i = 3, #KEYS do
  if cap > 0 and redis.call('XLEN', KEYS[i]) >= cap then return {'full', KEYS[i]} end
end
local cause = ARGV[4]
if cause ~= '' then
  local pending = redis.pcall('XPENDING', KEYS[1], group, cause, cause, 1)
  if pending.err and string.sub(pending.err, 1, 7) ~= 'NOGROUP' then return pending end
  if pending.err or #pending == 0 then return {'gone'} end  -- no group: a replica was promoted that never heard of it
end

local reply = {'moved'}
local ids = {}
for i = 3, #KEYS do
  ids[i] = redis.call('XADD', KEYS[i], '*', 'attributes', ARGV[6], 'data', ARGV[7], 'trace', ARGV[8])
end
if cause ~= '' then
  redis.call('XACK', KEYS[1], group, cause)
  redis.call('XDEL', KEYS[1], cause)
  redis.call('HDEL', KEYS[2], cause)
end
for i = 3, #KEYS do
  reply[#reply + 1] = ARGV[i + 6] == '1' and take(KEYS[i], ids[i]) or ''
end
reply[#reply + 1] = ARGV[5] == '1' and take(KEYS[1], '') or ''
return reply
