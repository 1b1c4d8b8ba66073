-- A writer is about to write a version. Guards: of one version, one content is ever written, the first that came.
--   KEYS[1] record: hash {id, version, status, hash, assigned, claim:<version> = content hash, …}
--   KEYS[2] ids of the tenant: zset
--   ARGV[1] document id, ARGV[2] version, ARGV[3] content hash, ARGV[4] acl (JSON), ARGV[5] now, ARGV[6] reason of a conflict
--   ARGV[7] '1' for a removal: one that comes late is noted all the same, since what was quoted before it is withheld
-- Returns 'claimed', 'superseded' (a higher version stands) or 'conflict' (this version has another content).
local stored = tonumber(redis.call('HGET', KEYS[1], 'version') or 0)
local version = tonumber(ARGV[2])
if version < stored then
  if ARGV[7] == '1' and tonumber(redis.call('HGET', KEYS[1], 'removed') or 0) < version then
    redis.call('HSET', KEYS[1], 'removed', ARGV[2])
  end
  return 'superseded'
end
local taken = redis.call('HGET', KEYS[1], 'claim:' .. ARGV[2])
if version == stored then taken = redis.call('HGET', KEYS[1], 'hash') end
if taken and taken ~= ARGV[3] then
  if tonumber(redis.call('HGET', KEYS[1], 'refused') or 0) <= version then
    redis.call('HSET', KEYS[1], 'refused', ARGV[2], 'reason', ARGV[6])
  end
  return 'conflict'
end
local given_up = redis.call('HGET', KEYS[1], 'given_up') == ARGV[2]
if (given_up or not taken) and redis.call('HGET', KEYS[1], 'refused') == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'refused', 'reason', 'given_up')  -- it comes again, and may do better
end
if version > stored then redis.call('HSET', KEYS[1], 'claim:' .. ARGV[2], ARGV[3]) end
local assigned = tonumber(redis.call('HGET', KEYS[1], 'assigned') or 0)
redis.call('HSET', KEYS[1], 'assigned', string.format('%.0f', math.max(version, assigned)))
redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
redis.call('HSETNX', KEYS[1], 'updated', ARGV[5])
if stored == 0 and version >= assigned then redis.call('HSET', KEYS[1], 'acl', ARGV[4]) end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 'claimed'
