-- A version's chunks are written (or it is a removal): it becomes the current one.
-- Guards: the version never falls, a writer whose claim was lost changes nothing, and no answer is found any more
-- under the tenant's token of before.
--   KEYS[1] record: hash {version, status, since, hash, claim:<version>, refused, reason, begun, removed, …},
--   KEYS[2] token; `removed` is the version of the last removal, and stays when a higher version is indexed; `since` is
--   when the version became current, in ms by Redis' own clock
--   ARGV[1] version, ARGV[2] content hash, ARGV[3] the tenant's next token, ARGV[4] '1' for a removal,
--   then the fields and values of the record (status, chunks, title, …).
-- Returns 'raised', 'again' (it was current already), 'first' (raised, and no other version was ever begun),
-- 'superseded', 'conflict' (another content is current) or 'lost' (no claim: the record was lost meanwhile).
local stored = tonumber(redis.call('HGET', KEYS[1], 'version') or 0)
local version = tonumber(ARGV[1])
if version < stored then
  if ARGV[4] == '1' and tonumber(redis.call('HGET', KEYS[1], 'removed') or 0) < version then
    redis.call('HSET', KEYS[1], 'removed', ARGV[1])
  end
  return 'superseded'
end
if version == stored then
  if redis.call('HGET', KEYS[1], 'hash') == ARGV[2] then return 'again' end
  return 'conflict'
end
if redis.call('HGET', KEYS[1], 'claim:' .. ARGV[1]) ~= ARGV[2] then return 'lost' end
local first = stored == 0 and redis.call('HEXISTS', KEYS[1], 'begun') == 0
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local claimed = tonumber(string.match(name, '^claim:(%d+)$'))
  if claimed and claimed ~= version then first = false end
  if claimed and claimed <= version then redis.call('HDEL', KEYS[1], name) end
end
if tonumber(redis.call('HGET', KEYS[1], 'refused') or 0) < version then
  redis.call('HDEL', KEYS[1], 'refused', 'reason')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'hash', ARGV[2], 'since', string.format('%d', now), unpack(ARGV, 5))
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], 'removed', ARGV[1]) end
redis.call('SET', KEYS[2], ARGV[3])
if first then return 'first' end
return 'raised'
