-- Append an entry about the log itself, if nothing was appended since the writer looked.
--
-- KEYS  1 stream  2 epoch
-- ARGV  1 entry id and 2 seq of the log's end  3 type  4 data  5 name of the epoch that the entry opens, or ''
--       6 the log's first entry
-- Returns {'appended', seq, entry id} | {'moved'}

local seq, entry, problem = end_of(KEYS[1])
if problem then return problem end
if not seq or entry ~= ARGV[1] or string.format('%d', seq) ~= ARGV[2] then
  return {'moved'}
end
local next_seq = string.format('%d', seq + 1)
local added = redis.call('XADD', KEYS[1], '*', 'type', ARGV[3], 'seq', next_seq, 'prev', entry, 'data', ARGV[4])
if ARGV[5] ~= '' then
  redis.call('SET', KEYS[2], ARGV[5] .. '|' .. added .. '|' .. ARGV[6])
end
return {'appended', next_seq, added}
