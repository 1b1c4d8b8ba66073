-- The answer that a fast key leads to, in one trip instead of two. Guards nothing: either may be evicted at any moment.
--   KEYS[1] fast key: string, the answer's key; ARGV[1] what stands before an answer's key in its name
-- Returns the answer, '' when it is gone, or false when the fast key leads nowhere.
local key = redis.call('GET', KEYS[1])
if not key then return false end
return redis.call('GET', ARGV[1] .. key) or ''
