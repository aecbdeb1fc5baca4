-- Make the log's first entry if there is no log.
--
-- KEYS  1 stream  2 heads  3 epoch        ARGV  1 type  2 data  3 name of the epoch  4 '1': also when heads are left
-- Returns {'end', seq, entry id} of the log that is there now, or {'gone'} when heads tell of a log that is not.

local seq, entry, problem = end_of(KEYS[1])
if problem then return problem end
if seq then
  return {'end', string.format('%d', seq), entry}
end

local heads = redis.call('HVALS', KEYS[2])
if ARGV[4] ~= '1' and #heads > 0 then
  return {'gone'}
end

-- Invariant: a new log's entries have higher ids than all that is left of the one before, or what is left would pass for
-- its own. A clock may stand, or go back.
local last = 0
for _, head in ipairs(heads) do
  local milliseconds = tonumber(string.match(head, '^%d+|(%d+)-') or 0)
  if milliseconds > last then last = milliseconds end
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local id = now > last and '*' or string.format('%.0f-1', last + 1)

local first = redis.call('XADD', KEYS[1], id, 'type', ARGV[1], 'seq', '1', 'prev', '0-0', 'data', ARGV[2])
redis.call('SET', KEYS[3], ARGV[3] .. '|' .. first .. '|' .. first)
return {'end', '1', first}
