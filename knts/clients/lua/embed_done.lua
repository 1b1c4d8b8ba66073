-- A worker is done with a document. Guards: one that was written again since it was taken stays in the list.
--   KEYS[1] zset, as embed_take has it; ARGV[1] document, ARGV[2] the score that it was taken with
-- Returns 1 when it is done with.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[1])
