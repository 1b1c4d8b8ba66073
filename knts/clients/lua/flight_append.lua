-- include: line
-- Frames of a flight, all or none. Guards: only the holder of the lease writes (a zombie writes nothing), nothing
-- follows the end, and an expired or purged stream is never made again.
--   KEYS[1] lease, KEYS[2] flow, KEYS[3] info, KEYS[4] askers, KEYS[5] final
--   ARGV[1] token, ARGV[2] lease ms, ARGV[3] stream ms, ARGV[4] final ms
--   ARGV[5] the digest of the model whose words these are, or '' where it does not matter
--   ARGV[6] the state that these frames end the flight in, or '', ARGV[7] the final object
--   then frame types and data, in turn.
-- Returns 'written', 'lost' (the lease is not ours) or 'gone' (the stream is not there any more).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
if redis.call('EXISTS', KEYS[2]) == 0 or redis.call('HGET', KEYS[3], 'state') ~= 'open' then return 'gone' end
for at = 8, #ARGV, 2 do
  redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', 'type', ARGV[at], 'data', ARGV[at + 1])
  if ARGV[at] == 'delta' then redis.call('HSET', KEYS[3], 'streamed', ARGV[5] == '' and 'unknown' or ARGV[5]) end
  if ARGV[at] == 'reset' then redis.call('HSET', KEYS[3], 'streamed', '') end
end
for at = 2, 4 do redis.call('PEXPIRE', KEYS[at], ARGV[3]) end
redis.call('PEXPIRE', redis.call('HGET', KEYS[3], 'pointer'), ARGV[3])
if ARGV[6] == '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[3], 'state', ARGV[6])
  redis.call('SET', KEYS[5], ARGV[7], 'PX', ARGV[4])
  redis.call('DEL', KEYS[1])
  leader_leaves(KEYS[3])
end
redis.call('PUBLISH', KEYS[2], '')
return 'written'
