-- Append events, each or say why not. Nobody sees the stream, a tenant's head and its data key in between, for they live
-- in one cluster slot. What Redis has done before it refuses a command stays: what it may refuse comes before the event.
--
-- KEYS  1 stream  2 heads  3 data keys
-- ARGV  of each proposal, one after the other:
--       1 entry id and 2 seq that the writer has read up to
--       3 tenant  4 the tenant's seq that the decision was made on (0: no head, 'unreadable': one that tells none)
--       5 type  6 data  7 head without its position  8 command id ('' for none)  9 digest of the command
--       10 what to do with the data key (keep, set, destroy)  11 the wrapped data key
--       12 the tenant in lower case, if no other one of that name may have come behind 1 ('' if it may)
-- Returns of each: {'appended', seq, entry id} | {'repeated' | 'reused' | 'conflict', head} | {'twin', tenant}
--       | {'diverged', seq, entry id}

local stream, heads, keys = KEYS[1], KEYS[2], KEYS[3]
local words = 12

local seq, entry, problem = end_of(stream)
if problem then return problem end

-- Invariant: nothing is appended to a log that does not hold what the writer has read. Its end is held by what the
-- stream remembers of it, also when the entry itself was trimmed away.
local held = {}
if seq then held[entry .. ' ' .. string.format('%d', seq)] = true end

local function holds(id, number)
  local place = id .. ' ' .. number
  if held[place] == nil then
    held[place] = false
    local read = redis.call('XRANGE', stream, id, id)
    if read[1] then
      local fields = read[1][2]
      for i = 1, #fields, 2 do
        if fields[i] == 'seq' then held[place] = fields[i + 1] == number end
      end
    end
  end
  return held[place]
end

-- Ids that differ in case alone must not both be registered. The writer knows of all up to where it has read; behind it,
-- often nothing and rarely more than the last second's entries, this looks. By lower case: the last that made one live.
local since = {}

local function note(names, type, data)
  local tenant = string.match(data, '"tenant":"([^"]*)"')
  if tenant and not string.find(type, '^tenant_removed') then names[string.lower(tenant)] = tenant end
end

local function registered_since(id)
  if not since[id] then
    since[id] = {}
    for _, each in ipairs(redis.call('XRANGE', stream, '(' .. id, '+')) do
      local fields = {}
      for i = 1, #each[2], 2 do fields[each[2][i]] = each[2][i + 1] end
      note(since[id], fields['type'] or '', fields['data'] or '')
    end
  end
  return since[id]
end

local function append(at)
  if not seq then
    return {'diverged', '0', '0-0'}
  end
  local tenant = ARGV[at + 3]

  -- A head is seq|entry|version|alive|event id|command id|digest and more. The retry of a command is answered before
  -- anything else is looked at: its first try may be what changed everything else.
  local head = redis.call('HGET', heads, tenant)
  local head_seq = '0'
  if head then
    local number, command, digest = string.match(head, '^(%d+)|[^|]*|[^|]*|[^|]*|[^|]*|([^|]*)|([^|]*)')
    if ARGV[at + 8] ~= '' and command == ARGV[at + 8] then
      return {digest == ARGV[at + 9] and 'repeated' or 'reused', head}
    end
    head_seq = number or 'unreadable'
  end

  if not holds(ARGV[at + 1], ARGV[at + 2]) then
    return {'diverged', string.format('%d', seq), entry}
  end
  if head_seq ~= ARGV[at + 4] then
    return {'conflict', head}
  end

  if ARGV[at + 12] ~= '' then
    local twin = registered_since(ARGV[at + 1])[ARGV[at + 12]]
    if twin and twin ~= tenant then
      return {'twin', twin}
    end
  end

  local change = ARGV[at + 10]
  if change == 'set' then
    -- Who says again what was lost may hold the same key under a master key that was rotated away since.
    local id = string.match(ARGV[at + 11], '^v1|([^|]*)|')
    local held = ARGV[at + 8] == '' and string.match(redis.call('HGET', keys, tenant) or '', '^v1|([^|]*)|')
    if not held or held ~= id then
      redis.call('HSET', keys, tenant, ARGV[at + 11])
    end
  elseif change == 'destroy' then
    redis.call('HDEL', keys, '')  -- nobody's: whether it is let, before the event says that the key is destroyed
  end

  local next_seq = string.format('%d', seq + 1)
  local added = redis.call('XADD', stream, '*',
    'type', ARGV[at + 5], 'seq', next_seq, 'prev', entry, 'data', ARGV[at + 6])
  redis.call('HSET', heads, tenant, next_seq .. '|' .. added .. '|' .. ARGV[at + 7])
  if change == 'destroy' then
    redis.call('HDEL', keys, tenant)
  end
  seq, entry = seq + 1, added
  held[entry .. ' ' .. next_seq] = true
  for _, names in pairs(since) do note(names, ARGV[at + 5], ARGV[at + 6]) end
  return {'appended', next_seq, added}
end

local outcomes = {}
for at = 0, #ARGV - words, words do
  outcomes[#outcomes + 1] = append(at)
end
return outcomes
