-- Makes offline whose grace time is over, and tells every node.
--
-- KEYS[1]  hash: users who are not offline, as in presence_apply.lua
-- KEYS[2]  sorted set: users without a session, by when their grace time ends
-- ARGV[1]  the pub/sub channel that all nodes hear, and ARGV[2] the command that publishes in it
-- ARGV[3]  how many users at most
--
-- Returns a flat list: each user who is offline now, and when the last session ended (Unix milliseconds).

local users, leaving = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone, changes = {}, {}

for _, user in ipairs(redis.call('ZRANGEBYSCORE', leaving, '-inf', now, 'LIMIT', 0, ARGV[3])) do
    redis.call('ZREM', leaving, user)
    local entry = redis.call('HGET', users, user)
    if entry then
        local closed = string.match(entry, '^.|%d+|(%d+)|')
        redis.call('HDEL', users, user)
        changes[#changes + 1] = {user, '', '-', tonumber(closed), true}
        gone[#gone + 1] = user
        gone[#gone + 1] = closed
    end
end
if #changes > 0 then
    local version = redis.call('HINCRBY', users, '#', 1)
    redis.call(ARGV[2], ARGV[1], cmsgpack.pack({version, changes}))
end
return gone
