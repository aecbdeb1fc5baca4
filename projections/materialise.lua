-- Write or delete one tenant's key, unless a later state was written already.
--
-- KEYS  1 tenant key  2 its fence
-- ARGV  1 entry that opened the state's epoch  2 seq of the state  3 document, '' for a removal
--       4 fence's life after a removal, ms
-- The fence outlives a removal, so that a late writer does not bring the tenant back. Of two epochs the one that was
-- opened later counts: after a loss the log's numbers are given out again.

local function order(epoch)
  local milliseconds, count = string.match(epoch, '^(%d+)-(%d+)$')
  return tonumber(milliseconds or 0), tonumber(count or 0)
end

local function is_later(epoch, seq, other_epoch, other_seq)
  local milliseconds, count = order(epoch)
  local other_milliseconds, other_count = order(other_epoch)
  if milliseconds ~= other_milliseconds then return milliseconds > other_milliseconds end
  if count ~= other_count then return count > other_count end
  return seq > other_seq
end

-- A fence that somebody edited into none counts as none: it must not lock the tenant for ever. One without an epoch was
-- written before there were any.
local fence = redis.call('GET', KEYS[2]) or ''
local epoch, seq = string.match(fence, '^([^|]*)|(%d+)$')
if is_later(epoch or '0-0', tonumber(seq or string.match(fence, '^%d+$') or 0), ARGV[1], tonumber(ARGV[2])) then
  return 0
end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], ARGV[1] .. '|' .. ARGV[2], 'PX', ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[3])
  redis.call('SET', KEYS[2], ARGV[1] .. '|' .. ARGV[2])
end
return 1
