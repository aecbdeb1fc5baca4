-- Note that a replica is there, by Redis's own clock, and let go those that were not seen for long.
--
-- KEYS  1 replicas    ARGV  1 name  2 what it tells, a JSON object  3, 4, … pairs: a name, and what stood there
-- One that was seen again since somebody found it gone has another text by now, and stays.

local time = redis.call('TIME')
local seen = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
redis.call('HSET', KEYS[1], ARGV[1], string.sub(ARGV[2], 1, -2) .. ',"seen":' .. seen .. '}')
for i = 3, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return 1
