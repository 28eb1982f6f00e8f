-- Notes that messages which this server has forgotten are still on their way into the store.
--
-- KEYS  1  the shard: a hash of `run`, `born`, `settled` (see look.lua)
-- ARGV  1  how long they may take, in milliseconds

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'settled', string.format('%.0f', now + tonumber(ARGV[1])))
