-- Make the log's first entry if there is no log.
--
-- KEYS  1 stream  2 heads  3 epoch        ARGV  1 type  2 data  3 name of the epoch  4 '1': also when heads are left
-- Returns {'end', seq, entry id} of the log that is there now, or {'gone'} when heads tell of a log that is not.

local seq, entry, problem = end_of(KEYS[1])
if problem then return problem end
if seq then
  return {'end', string.format('%d', seq), entry}
end
if ARGV[4] ~= '1' and redis.call('EXISTS', KEYS[2]) == 1 then
  return {'gone'}
end
local first = redis.call('XADD', KEYS[1], '*', 'type', ARGV[1], 'seq', '1', 'prev', '0-0', 'data', ARGV[2])
redis.call('SET', KEYS[3], ARGV[3] .. '|' .. first .. '|' .. first)
return {'end', '1', first}
