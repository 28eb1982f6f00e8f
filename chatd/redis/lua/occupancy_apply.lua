-- Takes over who came into and left some channels on one node, and counts users over all nodes.
--
-- KEYS[1]  hash: channels with users → the version of who is in them
-- KEYS[2]  set: "CHANNEL USER" for each user in each channel on the node
-- KEYS[3]  a key that exists when the node was taken for dead
-- KEYS[4…] two for each channel: a hash of users → on how many nodes they are in it; a hash of nodes → how many users
-- ARGV[1]  the node
-- ARGV[2]  "1" if somebody clears up after the node, which is dead; "0" if the node itself speaks
-- ARGV[3…] for each channel: its name; how many users it may have for a list ("-1": it only counts); "1" if the whole
--          is wanted; how many changes follow; and each change, "+USER" or "-USER"
--
-- Returns for each channel {version before, version, count, users who came, users who left, nodes, whole}: came and left
-- only if the channel can be listed, "whole" (all users) only if wanted and listable. Returns 0 with nothing done if the
-- node was taken for dead and does not know. Saying the same again changes nothing.
-- A version is a moment of Redis' clock, in microseconds: it rises even if the channel was empty in between.

local versions, mine = KEYS[1], KEYS[2]
local node = ARGV[1]
if ARGV[2] == '0' and redis.call('EXISTS', KEYS[3]) == 1 then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {}
local at, key = 3, 4

while at <= #ARGV do
    local channel, most, wants_whole, changes = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
    local users, nodes = KEYS[key], KEYS[key + 1]
    local came, left, here = {}, {}, 0
    for number = at + 4, at + 3 + changes do
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
    local before = tonumber(redis.call('HGET', versions, channel) or '0')
    local version = before
    local count = redis.call('HLEN', users)
    if #came + #left > 0 then
        version = math.max(now, before + 1)
        if count > 0 then
            redis.call('HSET', versions, channel, string.format('%.0f', version))
        else
            redis.call('HDEL', versions, channel)
        end
    end
    local whole = {}
    if count > most then
        came, left = {}, {}
    elseif wants_whole == '1' then
        whole = redis.call('HKEYS', users)
    end
    answers[#answers + 1] = {before, version, count, came, left, redis.call('HKEYS', nodes), whole}
    at = at + 4 + changes
    key = key + 2
end
return answers
