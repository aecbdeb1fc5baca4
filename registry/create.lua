-- Make the log's first entry if there is no log.
--
-- KEYS  1 stream  2 heads        ARGV  1 type  2 data
-- Returns {'end', seq, entry id} of the log that is there now, or {'gone'} when heads tell of a log that is not.

local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not info.err then
  local seq, entry
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then seq = info[i + 1] end
    if info[i] == 'last-generated-id' then entry = info[i + 1] end
  end
  if not seq then
    return redis.error_reply('ERR Redis 7.0 or newer is needed')
  end
  return {'end', string.format('%d', seq), entry}
end
-- Any other error (a key of another type, a missing permission) is the caller's to see.
if not string.find(info.err, 'no such key', 1, true) then
  return info
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {'gone'}
end
return {'end', '1', redis.call('XADD', KEYS[1], '*', 'type', ARGV[1], 'seq', '1', 'prev', '0-0', 'data', ARGV[2])}
