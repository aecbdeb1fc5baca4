-- Write or delete one tenant's key, unless a later state was written already.
--
-- KEYS  1 tenant key  2 its fence        ARGV  1 seq of the state  2 document, '' for a removal  3 fence's life after a removal, ms
-- The fence outlives a removal, so that a late writer does not bring the tenant back.

-- A fence that somebody edited into no number counts as none: it must not lock the tenant for ever.
local fence = tonumber(string.match(redis.call('GET', KEYS[2]) or '', '^%d+$') or '0')
if fence > tonumber(ARGV[1]) then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2])
  redis.call('SET', KEYS[2], ARGV[1])
end
return 1
