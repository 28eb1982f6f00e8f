-- Says where a channel's log stands, and since when this server's memory can be believed.
--
-- KEYS  1  log of the channel
--       2  the shard: a hash of `run` (the server's process that `born` is about), `born`, `settled`
-- ARGV  1  run id of the server's process
--       2  when the log may be forgotten, in milliseconds from now
--       3  how long nodes may take to say that what they placed before is still on its way, in milliseconds
--
-- Returns  {born, now, settled, "EPOCH-SEQ" or ""}
--   born     since when (Unix milliseconds) the shard has lost nothing: when its process was first seen, or its data gone
--   settled  until when messages that were placed before `born` may still be on their way into the store

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', time[2] / 1000)
local shard = redis.call('HMGET', KEYS[2], 'run', 'born', 'settled')
local born = shard[2]
local settled = shard[3] or '0'
if shard[1] ~= ARGV[1] then
  born = now
  if shard[1] then
    -- It came back with data, or is a replica that took over: it may know less than nodes that have not come back yet.
    settled = string.format('%.0f', math.max(tonumber(settled), now + tonumber(ARGV[3])))
  end
  redis.call('HSET', KEYS[2], 'run', ARGV[1], 'born', now, 'settled', settled)
end
local last = ''
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not info.err then
  for field = 1, #info, 2 do
    if info[field] == 'last-generated-id' then
      last = info[field + 1]
    end
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {born, now, settled, last}
