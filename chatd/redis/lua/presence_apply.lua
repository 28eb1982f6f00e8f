-- Takes over what the sessions of some users on one node, taken together, say; tells every node what changed by it.
--
-- KEYS[1]  hash: users who are not offline. user → SHOWN|SINCE|CLOSED|NODE=SIGN,NODE=SIGN…; "#" → how often it changed
-- KEYS[2]  set: users who have a session on the node
-- KEYS[3]  sorted set: users without a session, by when their grace time ends (milliseconds of Redis' clock)
-- KEYS[4]  a key that exists when the node was taken for dead
-- ARGV[1]  the node
-- ARGV[2]  milliseconds of grace
-- ARGV[3]  the pub/sub channel that all nodes hear, and ARGV[4] the command that publishes in it
-- ARGV[5]  "1" if somebody clears up after the node, which is dead; "0" if the node itself speaks
-- ARGV[6…] pairs of a user and a sign: o (a session is in use), a (all are idle), - (none is left)
--
-- Returns 1, or 0 with nothing done if the node was taken for dead and does not know.
-- Saying the same again changes nothing. The table of chatd/presence/state.py holds: who comes back within the grace
-- time is shown as before.

local users, mine, leaving = KEYS[1], KEYS[2], KEYS[3]
local node, grace = ARGV[1], tonumber(ARGV[2])
if ARGV[5] == '0' and redis.call('EXISTS', KEYS[4]) == 1 then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local changes = {}

for at = 6, #ARGV, 2 do
    local user, sign = ARGV[at], ARGV[at + 1]
    local entry = redis.call('HGET', users, user)
    local shown, since, closed, where = '-', '0', '0', ''
    if entry then
        shown, since, closed, where = string.match(entry, '^(.)|(%d+)|(%d+)|(.*)$')
    end
    local had, is_used, places = '-', false, {}
    for id, said in string.gmatch(where, '([^=,]+)=(.)') do
        if id == node then
            had = said
        else
            places[#places + 1] = id .. '=' .. said
            is_used = is_used or said == 'o'
        end
    end
    if had ~= sign then
        if sign == '-' then
            redis.call('SREM', mine, user)
        else
            places[#places + 1] = node .. '=' .. sign
            is_used = is_used or sign == 'o'
            if had == '-' then
                redis.call('SADD', mine, user)
            end
        end
        local before = shown
        if #places == 0 then
            closed = string.format('%.0f', now)
            redis.call('ZADD', leaving, now + grace, user)
        else
            shown = is_used and 'o' or 'a'
            if where == '' then
                redis.call('ZREM', leaving, user)
            end
        end
        if shown ~= before then
            since = string.format('%.0f', now)
        end
        where = table.concat(places, ',')
        redis.call('HSET', users, user, shown .. '|' .. since .. '|' .. closed .. '|' .. where)
        changes[#changes + 1] = {user, where, shown, tonumber(since), shown ~= before}
    end
end
if #changes > 0 then
    local version = redis.call('HINCRBY', users, '#', 1)
    redis.call(ARGV[4], ARGV[3], cmsgpack.pack({version, changes}))
end
return 1
