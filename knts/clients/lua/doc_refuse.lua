-- A version can't be indexed. Guards: what is current stays as it is, and only the refused writer's claim is freed.
--   KEYS[1] record: hash, KEYS[2] ids of the tenant: zset
--   ARGV[1] document id, ARGV[2] version, ARGV[3] content hash, ARGV[4] reason, ARGV[5] now
--   ARGV[6] '1' when whoever claims this version has given up too; the claim stays, since some of its chunks may be
--   written, and only the same content may take the version up again.
-- Returns 'refused' or 'superseded' (a higher version stands or is refused later).
local stored = tonumber(redis.call('HGET', KEYS[1], 'version') or 0)
local refused = tonumber(redis.call('HGET', KEYS[1], 'refused') or 0)
local version = tonumber(ARGV[2])
if redis.call('HGET', KEYS[1], 'claim:' .. ARGV[2]) == ARGV[3] then
  redis.call('HDEL', KEYS[1], 'claim:' .. ARGV[2])
  redis.call('HSET', KEYS[1], 'begun', '1')  -- its writer may die before it has deleted its chunks: the next one looks
end
if version <= stored or version < refused then return 'superseded' end
local assigned = tonumber(redis.call('HGET', KEYS[1], 'assigned') or 0)
redis.call('HSET', KEYS[1], 'assigned', string.format('%.0f', math.max(version, assigned)),
  'refused', ARGV[2], 'reason', ARGV[4])
if ARGV[6] == '1' then redis.call('HSET', KEYS[1], 'given_up', ARGV[2]) end
redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
redis.call('HSETNX', KEYS[1], 'updated', ARGV[5])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 'refused'
