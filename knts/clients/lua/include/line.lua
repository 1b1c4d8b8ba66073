-- A model's line: who waits for one of its slots, and who holds them. Included by every script that touches it.
-- All keys begin with `line` = knts:line:{model}:
--   queue zset ticket -> virtual time: fair queueing over tenants, so that a tenant's n-th ticket stands behind every
--         other tenant's first; until zset ticket -> when it expires; seen zset ticket -> until when its leader counts
--         as there; slots zset "<token> <ticket>" -> expiry; clock the virtual time of whom was served last;
--         pace hash {ms: how long a slot is held, as a moving mean; slots: how many there are}
--   knts:riders:{ticket}, one set: the asks that share a ticket, since they ask the same; gone with its last one
-- A ticket begins with 16 characters that stand for its tenant. Times are Redis' own, in ms.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function drop(line, ticket)
  for _, part in ipairs({'queue', 'until', 'seen'}) do redis.call('ZREM', line .. part, ticket) end
end

local function purge(line, now)
  redis.call('ZREMRANGEBYSCORE', line .. 'slots', '-inf', now)
  redis.call('ZREMRANGEBYSCORE', line .. 'seen', '-inf', now)
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', line .. 'until', '-inf', now)) do drop(line, dead) end
end

local function pace(line)
  local ms, slots = unpack(redis.call('HMGET', line .. 'pace', 'ms', 'slots'))
  return tonumber(ms or '0'), tonumber(slots or '1')
end

-- How many slots must be given back before the turn of the one at this rank comes; 0 or less when there is room.
local function position(line, rank, slots)
  return rank + 1 - (slots - redis.call('ZCARD', line .. 'slots'))
end

-- An ask, knts:ask:{id}, needs its ticket no more. Nothing happens when it has none.
local function leave_line(ask_key)
  local line, ticket = unpack(redis.call('HMGET', ask_key, 'line', 'ticket'))
  if not ticket then return end
  redis.call('HDEL', ask_key, 'ticket')
  redis.call('SREM', 'knts:riders:' .. ticket, string.sub(ask_key, #'knts:ask:' + 1))
  if redis.call('EXISTS', 'knts:riders:' .. ticket) == 0 then drop(line, ticket) end
end

-- A flight is over: the ask that leads it needs its ticket no more.
local function leader_leaves(info)
  local leader = redis.call('HGET', info, 'leader')
  if leader then leave_line('knts:ask:' .. leader) end
end

-- A place in a model's line for an ask that waits until `deadline` (ms). Guards: the queue is bounded, and no tenant can
-- keep another out. Whoever asks what waits or is being written already rides along. A queue of `most` tickets takes only
-- those of tenants that have less than their share of it; and nobody gets a place whose answer would come too late.
-- The place: from 1, 0 for who need not wait, -1 for none; ms that a slot is held; slots.
local function take_ticket(line, ticket, ask, most, deadline)
  local now = now_ms()
  purge(line, now)
  local held, slots = pace(line)
  local riders = 'knts:riders:' .. ticket

  local function ride()
    redis.call('SADD', riders, ask)
    redis.call('PEXPIRE', riders, math.max(deadline - now, redis.call('PTTL', riders), 1))
  end

  for _, holder in ipairs(redis.call('ZRANGE', line .. 'slots', 0, -1)) do
    if string.sub(holder, -#ticket) == ticket then
      ride()
      return 0, held, slots
    end
  end

  if not redis.call('ZSCORE', line .. 'queue', ticket) then
    local waiting = redis.call('ZRANGE', line .. 'queue', 0, -1, 'WITHSCORES')
    local tenant, others, tenants, mine, last = string.sub(ticket, 1, 16), {}, 1, 0, 0
    for at = 1, #waiting, 2 do
      local whose = string.sub(waiting[at], 1, 16)
      if whose == tenant then
        mine, last = mine + 1, tonumber(waiting[at + 1])
      elseif not others[whose] then
        others[whose], tenants = true, tenants + 1
      end
    end
    local tag = math.max(tonumber(redis.call('GET', line .. 'clock') or '0'), last) + 1
    local place = position(line, redis.call('ZCOUNT', line .. 'queue', '-inf', tag), slots)
    local full = #waiting / 2 >= most and mine >= most / tenants
    local done = now + 1.25 * (held + math.max(0, place) * held / slots)  -- when its answer would be; a mean has longer
    if full or done > deadline then return -1, held, slots end
    redis.call('ZADD', line .. 'queue', tag, ticket)
  end
  redis.call('ZADD', line .. 'until', 'GT', deadline, ticket)
  ride()
  return math.max(0, position(line, redis.call('ZRANK', line .. 'queue', ticket), slots)), held, slots
end
