-- Take out the entries before one, if the stream still holds that one, and the one up to which it was looked at.
--
-- KEYS  1 stream        ARGV  1 id and 2 seq of the first entry that stays  3 id and 4 seq of where the look ended
-- Returns how many were taken out, or -1 if the stream does not hold both: it is not what heads and keys were found to
-- cover.

local function holds(id, seq)
  local found = redis.call('XRANGE', KEYS[1], id, id)
  for i = 1, found[1] and #found[1][2] or 0, 2 do
    if found[1][2][i] == 'seq' then return found[1][2][i + 1] == seq end
  end
  return false
end

if not holds(ARGV[1], ARGV[2]) or not holds(ARGV[3], ARGV[4]) then
  return -1
end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[1])
