-- include: line
-- A question meets the one generation that answers it. Guards: one live leader per flight, one flight per answer key,
-- and a redelivered event goes back to the flight that it belonged to.
--   KEYS[1] pointer: the flight id that new askers of this key join
--   KEYS[2] ask hash, KEYS[3] the ask's frames
--   ARGV[1] ask id, ARGV[2] id for a new flight, ARGV[3] lease token, ARGV[4] lease ms, ARGV[5] stream ms,
--   ARGV[6] final ms, ARGV[7] '1' to join no finished flight, ARGV[8] ms after which an unseen listener counts as gone,
--   ARGV[9] id of the event that is delivered
-- A flight's own keys hang on its id, which is known only here:
--   knts:flight-info:{id} hash {state=open|completed|abstained|failed|cancelled, leader=<ask id>, pointer,
--     event=<id of the event that the leader works on>, streamed=<digest of the model whose words readers have, or ''>, released=1 while its leader's event is to come again,
--     again=<when it was published again>}
--   knts:flow:{id} stream, knts:lease:{id} token, knts:askers:{id} zset ask -> last seen (+inf: nobody has to listen),
--   knts:flight-final:{id}
-- Returns {role, flight, extra}: 'leader' (extra: the model whose words readers have, or ''), 'follower',
-- 'held' (this event leads it, in a delivery that still holds the lease; extra: ms left), 'finished' (extra: '1' when
-- this ask led it), 'ended' (nobody waits for this ask's part any more) or 'gone' (expired).
local function key(part, id) return 'knts:' .. part .. ':' .. id end

local now = now_ms()
local ask, token, lease_ms, stream_ms = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local status = redis.call('HGET', KEYS[2], 'status')
if not status then return {'gone'} end

local mine = redis.call('HGET', KEYS[2], 'flight')
local flight = mine or redis.call('GET', KEYS[1])
local state = flight and redis.call('HGET', key('flight-info', flight), 'state')
local alive = state and redis.call('EXISTS', key('flow', flight)) == 1

local function live(id)
  for _, part in ipairs({'flow', 'flight-info', 'askers'}) do redis.call('PEXPIRE', key(part, id), stream_ms) end
end

local function note(id, cache)
  local listens = redis.call('HGET', KEYS[2], 'async') == '1' and '+inf' or now
  redis.call('ZADD', key('askers', id), listens, ask)
  redis.call('HSET', KEYS[2], 'flight', id, 'cache', cache, 'once:joined', '1')
  redis.call('XADD', KEYS[3], 'NOMKSTREAM', '*', 'type', 'joined', 'data', cjson.encode({flight = id}))
  redis.call('PEXPIRE', KEYS[3], stream_ms)
  redis.call('PUBLISH', KEYS[3], '')
  if cache ~= 'miss' then leave_line(KEYS[2]) end  -- nothing is generated on its account
  live(id)
end

local function lead(id)
  redis.call('HSET', key('flight-info', id), 'leader', ask, 'event', ARGV[9])
  redis.call('HDEL', key('flight-info', id), 'released')
  redis.call('SET', key('lease', id), token, 'PX', lease_ms)
  if mine then live(id) else note(id, 'miss') end
  return {'leader', id, redis.call('HGET', key('flight-info', id), 'streamed')}
end

if mine then
  if not alive then return {'gone'} end
else
  if status ~= 'open' then return {'ended'} end
  if redis.call('EXISTS', KEYS[3]) == 0 then return {'gone'} end
  if not alive or state == 'failed' or state == 'cancelled' or (ARGV[7] == '1' and state ~= 'open') then
    flight = ARGV[2]
    redis.call('HSET', key('flight-info', flight), 'state', 'open', 'streamed', '', 'pointer', KEYS[1])
    redis.call('XGROUP', 'CREATE', key('flow', flight), 'none', '$', 'MKSTREAM')  -- the only way to an empty stream
    redis.call('XGROUP', 'DESTROY', key('flow', flight), 'none')
    redis.call('SET', KEYS[1], flight, 'PX', stream_ms)
    return lead(flight)
  end
end

if state ~= 'open' then
  if not mine then
    note(flight, 'hit')  -- nothing is generated for it any more
    redis.call('PEXPIRE', KEYS[1], stream_ms)
    redis.call('PEXPIRE', key('flight-final', flight), ARGV[6])
  end
  local led = redis.call('HGET', key('flight-info', flight), 'leader') == ask
  return {'finished', flight, led and '1' or '0'}
end

local left = redis.call('PTTL', key('lease', flight))
if left > 0 then
  local leader, event = unpack(redis.call('HMGET', key('flight-info', flight), 'leader', 'event'))
  if mine and leader == ask and event == ARGV[9] then return {'held', flight, tostring(left)} end
  if mine then leave_line(KEYS[2]) else note(flight, 'shared') end
  return {'follower', flight}
end
if mine and status ~= 'open' and redis.call('ZCOUNT', key('askers', flight), now - ARGV[8], '+inf') == 0 then
  return {'ended'}
end
return lead(flight)
