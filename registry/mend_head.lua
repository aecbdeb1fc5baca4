-- Put a tenant's head back as the log tells it.
--
-- KEYS  1 stream  2 heads        ARGV  1 entry id and 2 seq up to which the log was read  3 tenant  4 the head
-- Returns 1 if it was done, 0 if the log does not hold that entry, or the tenant has an event behind it: one that the log
-- has come to. A head beyond the log's end tells of none.

local seq, entry, problem = end_of(KEYS[1])
if problem then return problem end
if not seq then return 0 end
local at_end = entry == ARGV[1] and string.format('%d', seq) == ARGV[2]
if not at_end and #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
  return 0
end
-- What is no head of ours counts as none.
local head_seq = tonumber(string.match(redis.call('HGET', KEYS[2], ARGV[3]) or '', '^(%d+)|') or 0)
if head_seq > tonumber(ARGV[2]) and head_seq <= seq then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return 1
