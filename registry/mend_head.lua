-- Put a tenant's head back as the log tells it.
--
-- KEYS  1 stream  2 heads        ARGV  1 entry id and 2 seq up to which the log was read  3 tenant  4 the head
-- Returns 1 if it was done, 0 if the log does not hold that entry, or the tenant has an event behind it.

local end_seq, end_entry, problem = end_of(KEYS[1])
if problem then return problem end
-- The end is held by what the stream remembers of it, also when the entry itself was taken away.
local held = end_seq and end_entry == ARGV[1] and string.format('%d', end_seq) == ARGV[2]
if not held and (not end_seq or #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0) then
  return 0
end
-- What is no head of ours counts as none.
local seq = string.match(redis.call('HGET', KEYS[2], ARGV[3]) or '', '^(%d+)|') or '0'
if tonumber(seq) > tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return 1
