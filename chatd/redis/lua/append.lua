-- Places one message: numbers it, remembers its key, keeps it and sends it out, in one step.
--
-- KEYS  1  log of the channel: a stream whose ids are EPOCH-SEQ; also the name of the channel's pub/sub
--       2  where the key of (sender, key) is remembered
--       3  write-ahead stream of the shard
--       4  version of the channel's members
-- ARGV  1  epoch that the caller believes in
--       2  the message, without its place
--       3  how many messages the log keeps at least; 0: none
--       4  flags: d durable (write ahead), p publish, m a change of members, v the version of the members counts
--       5  name of the channel
--       6  how long the key is remembered, in milliseconds
--       7  when the log may be forgotten, in milliseconds from now; 0: as it was
--       8  version of the members that the caller knows (with v)
--
-- Returns  "EPOCH-SEQ AT WAL"           placed; WAL is the id in the write-ahead stream, or 0
--          {"EPOCH-SEQ AT WAL CHANNEL", record or false}   the key was placed before; the record while it is written ahead
--          nil                          the log is not there or has another epoch: open the channel again
--          1                            the members have changed
--
-- A record, in the write-ahead stream and in pub/sub, is "EPOCH-SEQ AT MESSAGE"; AT is in Unix milliseconds.

local flags = ARGV[4]
if flags:find('v', 1, true) and (redis.call('GET', KEYS[4]) or '') ~= ARGV[8] then
  return 1
end
local time = redis.call('TIME')
local at = time[1] .. string.format('%03d', time[2] / 1000)
local message = ARGV[2]
local id
if ARGV[3] == '0' then
  id = redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', 'MAXLEN', '=', '0', ARGV[1] .. '-*', 'm', '')
else
  id = redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', 'MAXLEN', '~', ARGV[3], ARGV[1] .. '-*', 'm', at .. ' ' .. message)
end
if not id or type(id) == 'table' then
  return false
end
local record = id .. ' ' .. at .. ' ' .. message
local wal = '0'
if flags:find('d', 1, true) then
  wal = redis.call('XADD', KEYS[3], '*', 'c', ARGV[5], 'm', record)
end
local placed = id .. ' ' .. at .. ' ' .. wal
local known = redis.call('SET', KEYS[2], placed .. ' ' .. ARGV[5], 'NX', 'GET', 'PX', ARGV[6])
if known then
  -- Take it all back: resends are rare, and so first sends need not look before they are placed.
  local epoch, seq = id:match('^(%d+)-(%d+)$')
  redis.call('XDEL', KEYS[1], id)
  redis.call('XSETID', KEYS[1], epoch .. '-' .. string.format('%.0f', tonumber(seq) - 1))
  if wal ~= '0' then
    redis.call('XDEL', KEYS[3], wal)
  end
  local waiting = known:match('^%S+ %S+ (%S+)')
  local entry = waiting ~= '0' and redis.call('XRANGE', KEYS[3], waiting, waiting)[1]
  return {known, entry and entry[2][4] or false}
end
if flags:find('m', 1, true) then
  redis.call('SET', KEYS[4], id, 'PX', ARGV[6])
end
if flags:find('p', 1, true) then
  redis.call('SPUBLISH', KEYS[1], record)
end
if ARGV[7] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
end
return placed
