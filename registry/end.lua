-- What every script of the log begins with: where the log ends.
--
-- end_of(stream) returns seq and entry id of the last entry ever added, both nil when there is no stream, or an error.
-- By XINFO: after XDEL of the last entry XREVRANGE shows an older one.

local function end_of(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then
    -- Any other error (a key of another type, a missing permission) is the caller's to see.
    if not string.find(info.err, 'no such key', 1, true) then return nil, nil, info end
    return nil, nil, nil
  end
  local seq, entry
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then seq = info[i + 1] end
    if info[i] == 'last-generated-id' then entry = info[i + 1] end
  end
  -- Older ones do not count what was added; a sequence of our own would not see what somebody else appended.
  if not seq then
    return nil, nil, redis.error_reply('ERR Redis 7.0 or newer is needed')
  end
  return seq, entry, nil
end

