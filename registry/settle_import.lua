-- Make what was imported the log, if there is none. Atomic: a reader sees nothing of it before, and all of it after.
--
-- KEYS  1 stream  2 heads  3 data keys  4 epoch, and 5 6 7 what was imported for the first three
-- ARGV  1 the epoch
-- Returns 1, or 0 if there is something of a log.

if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[4]) > 0 then
  return 0
end
for i = 1, 3 do
  if redis.call('EXISTS', KEYS[i + 4]) == 1 then
    -- What was imported goes by itself if the import is cut short; from here on it stays.
    redis.call('PERSIST', KEYS[i + 4])
    redis.call('RENAME', KEYS[i + 4], KEYS[i])
  end
end
redis.call('SET', KEYS[4], ARGV[1])
return 1
