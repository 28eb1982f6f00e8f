-- Lets a channel's log begin, or begin anew, unless somebody else did meanwhile.
--
-- KEYS  1  log of the channel
-- ARGV  1  where the caller saw it stand: "EPOCH-SEQ", or "" for nowhere
--       2  the epoch to go on in; with "+" before it: a new one, at least this
--       3  the seq that it stands at
--       4  when the log may be forgotten, in milliseconds from now
--
-- Returns  "EPOCH-SEQ" where it stands now: as asked, or what somebody else made of it
--
-- What is in the log stays: its messages have smaller seqs.

local last = ''
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not info.err then
  for field = 1, #info, 2 do
    if info[field] == 'last-generated-id' then
      last = info[field + 1]
    end
  end
end
if last ~= ARGV[1] then
  return last
end
local epoch = ARGV[2]
if epoch:sub(1, 1) == '+' then
  local time = redis.call('TIME')
  epoch = string.format('%.0f', math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(epoch:sub(2))))
end
local id = epoch .. '-' .. ARGV[3]
redis.call('XADD', KEYS[1], id, 'm', '')
redis.call('XDEL', KEYS[1], id)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return id
