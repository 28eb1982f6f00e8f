-- Takes over who came into and left a channel on one node, and counts its users over all nodes.
--
-- KEYS[1]  hash: channels with users → the version of who is in them
-- KEYS[2]  set: "CHANNEL USER" for each user in each channel on the node
-- KEYS[3]  a key that exists when the node was taken for dead
-- KEYS[4]  hash: users in the channel → on how many nodes
-- KEYS[5]  hash: nodes with users in the channel → how many
-- ARGV[1]  the node
-- ARGV[2]  "1" if somebody clears up after the node, which is dead; "0" if the node itself speaks
-- ARGV[3]  the channel
-- ARGV[4]  how many users it may have for a list; "-1" if it only counts
-- ARGV[5]  "1" if the list is wanted
-- ARGV[6…] changes: "+USER" or "-USER"
--
-- Returns {version before, version, count, users who came, users who left, nodes, list}: who came and left only if the
-- channel can be listed, the list only if it is wanted too. Returns 0 with nothing done if the node was taken for dead
-- and does not know. Saying the same again changes nothing.
-- A version is a moment of Redis' clock, in microseconds: it rises even if the channel was empty in between.

local versions, mine, users, nodes = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local node, channel, most = ARGV[1], ARGV[3], tonumber(ARGV[4])
if ARGV[2] == '0' and redis.call('EXISTS', KEYS[3]) == 1 then
    return 0
end
local came, left, here = {}, {}, 0

for number = 6, #ARGV do
    local user = string.sub(ARGV[number], 2)
    local item = channel .. ' ' .. user
    if string.sub(ARGV[number], 1, 1) == '+' then
        if redis.call('SADD', mine, item) == 1 then
            here = here + 1
            if redis.call('HINCRBY', users, user, 1) == 1 then
                came[#came + 1] = user
            end
        end
    elseif redis.call('SREM', mine, item) == 1 then
        here = here - 1
        if redis.call('HINCRBY', users, user, -1) <= 0 then
            redis.call('HDEL', users, user)
            left[#left + 1] = user
        end
    end
end
if here ~= 0 and redis.call('HINCRBY', nodes, node, here) <= 0 then
    redis.call('HDEL', nodes, node)
end

local before = redis.call('HGET', versions, channel) or '0'
local version = before
local count = redis.call('HLEN', users)
if #came + #left > 0 then
    local time = redis.call('TIME')
    version = string.format('%.0f', math.max(time[1] * 1000000 + time[2], tonumber(before) + 1))
    if count > 0 then
        redis.call('HSET', versions, channel, version)
    else
        redis.call('HDEL', versions, channel)
    end
end
local list = {}
if count > most then
    came, left = {}, {}
elseif ARGV[5] == '1' then
    list = redis.call('HKEYS', users)
end
return {before, version, count, came, left, redis.call('HKEYS', nodes), list}
