-- Take out the entries before one, if that one is still there and so are others before it.
--
-- KEYS  1 stream        ARGV  1 id and 2 seq of the first entry that stays
-- Returns how many were taken out, or -1 if the stream does not hold that entry.

local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
local seq
for i = 1, found[1] and #found[1][2] or 0, 2 do
  if found[1][2][i] == 'seq' then seq = found[1][2][i + 1] end
end
if seq ~= ARGV[2] then
  return -1
end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[1])
