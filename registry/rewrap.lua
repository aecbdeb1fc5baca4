-- Put data keys that were wrapped anew in the place of the same ones, if nobody has changed those meanwhile.
--
-- KEYS  1 data keys  2 what says when they were last wrapped anew
-- ARGV  1 a word that no other call has  then of each data key: tenant, the wrapped key that was read, the new one
-- Returns of each 1 if it was put there, 0 if not: a removed tenant's key does not come back, nor an earlier one.

local outcomes = {}
for at = 2, #ARGV, 3 do
  local same = redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1]
  if same then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
    redis.call('HSET', KEYS[2], 'last', ARGV[1])
  end
  outcomes[#outcomes + 1] = same and 1 or 0
end
return outcomes
