-- Take a fence away if it is the one that was seen.
--
-- KEYS  1 fence        ARGV  1 what was seen
-- Returns 1 if it was taken away.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
