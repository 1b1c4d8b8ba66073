-- include: line
-- A person starts to wait. Guards: one ask is opened once, and one that needs a ticket only with one.
--   KEYS[1] ask: hash {tenant, owner, question, request, created, deadline, status=open|ended, once:<frame>, at:<frame>, line,
--   ticket, …}, lives ARGV[1] ms
--   KEYS[2] frames: stream of {type, data}, lives ARGV[2] ms after its last frame
--   KEYS[3] the model's line
--   ARGV[3] frame type, ARGV[4] frame data (JSON), which is told the place, ARGV[5] ask id
--   ARGV[6] ticket or '', ARGV[7] most tickets that wait, ARGV[8] when the ask gives up (ms), then the ask's fields and values.
-- Returns the first frame's id, false when the ask exists already, or {ms a slot is held, slots} when there is no place.
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local data = ARGV[4]
if ARGV[6] ~= '' then
  local place, held, slots = take_ticket(KEYS[3], ARGV[6], ARGV[5], tonumber(ARGV[7]), tonumber(ARGV[8]))
  if place < 0 then return {held, slots} end
  if place > 0 then
    local told = cjson.decode(data)
    told.position = place
    if held > 0 then told.expected_ms = math.floor(place * held / slots) end
    data = cjson.encode(told)
  end
  redis.call('HSET', KEYS[1], 'line', KEYS[3], 'ticket', ARGV[6])
end
redis.call('HSET', KEYS[1], 'status', 'open', unpack(ARGV, 9))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local id = redis.call('XADD', KEYS[2], '*', 'type', ARGV[3], 'data', data)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return id
