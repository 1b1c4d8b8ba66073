-- The next version of a document, or a note that a version is on its way.
-- Guards: a number is handed out once, and `assigned` never falls.
--   KEYS[1] record: hash {version, status, assigned, …}, KEYS[2] ids of the tenant: zset
--   ARGV[1] document id, ARGV[2] version on its way or '' to assign one, ARGV[3] acl (JSON) or '', ARGV[4] now
-- Returns the version as text.
local stored = tonumber(redis.call('HGET', KEYS[1], 'version') or 0)
local assigned = tonumber(redis.call('HGET', KEYS[1], 'assigned') or 0)
local version = tonumber(ARGV[2]) or math.max(stored, assigned) + 1
redis.call('HSET', KEYS[1], 'assigned', string.format('%.0f', math.max(version, assigned)))
redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
redis.call('HSETNX', KEYS[1], 'updated', ARGV[4])
if ARGV[3] ~= '' and stored == 0 then redis.call('HSET', KEYS[1], 'acl', ARGV[3]) end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return string.format('%.0f', version)
