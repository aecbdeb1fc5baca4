-- Append one event, or say why not. Atomic: the stream, the tenant's head and its data key change together or not at
-- all, and they live in one cluster slot.
--
-- KEYS  1 stream  2 heads  3 data keys
-- ARGV  1 entry id and 2 seq that the writer has read up to
--       3 tenant  4 the tenant's seq that the decision was made on (0: none)
--       5 type  6 data  7 head without its position  8 command id  9 digest of the command
--       10 what to do with the data key (keep, set, destroy)  11 the wrapped data key
-- Returns {'appended', seq, entry id} | {'repeated' | 'reused' | 'conflict', head} | {'diverged', seq, entry id}

local stream, heads, keys = KEYS[1], KEYS[2], KEYS[3]
local tenant = ARGV[3]

local info = redis.pcall('XINFO', 'STREAM', stream)
if info.err then
  -- Any other error (a key of another type, a missing permission) is the caller's to see.
  if not string.find(info.err, 'no such key', 1, true) then return info end
  return {'diverged', '0', '0-0'}
end
local seq, entry
for i = 1, #info, 2 do
  if info[i] == 'entries-added' then seq = info[i + 1] end
  if info[i] == 'last-generated-id' then entry = info[i + 1] end
end

-- Older ones do not count what was added; a sequence of our own would not see what somebody else appended.
if not seq then
  return redis.error_reply('ERR Redis 7.0 or newer is needed')
end

-- A head is seq|entry|version|alive|event id|command id|digest. The retry of a command is answered before anything else
-- is looked at: its first try may be what changed everything else.
local head = redis.call('HGET', heads, tenant)
local head_seq = '0'
if head then
  local at, command, digest = string.match(head, '^(%d+)|[^|]*|[^|]*|[^|]*|[^|]*|([^|]*)|([^|]*)$')
  if command == ARGV[8] then
    return {digest == ARGV[9] and 'repeated' or 'reused', head}
  end
  head_seq = at or 'unreadable'
end

-- Invariant: nothing is appended to a log that does not hold what the writer has read.
local read = redis.call('XRANGE', stream, ARGV[1], ARGV[1])
local holds = false
if read[1] then
  local fields = read[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 'seq' then holds = fields[i + 1] == ARGV[2] end
  end
end
if not holds then
  return {'diverged', string.format('%d', seq), entry}
end

if head_seq ~= ARGV[4] then
  return {'conflict', head}
end

local next_seq = string.format('%d', seq + 1)
local added = redis.call('XADD', stream, '*', 'type', ARGV[5], 'seq', next_seq, 'prev', entry, 'data', ARGV[6])
redis.call('HSET', heads, tenant, next_seq .. '|' .. added .. '|' .. ARGV[7])
if ARGV[10] == 'set' then
  redis.call('HSET', keys, tenant, ARGV[11])
elseif ARGV[10] == 'destroy' then
  redis.call('HDEL', keys, tenant)
end
return {'appended', next_seq, added}
