-- Renews a node's lease, and claims those whose lease lapsed.
--
-- KEYS[1]  sorted set: nodes, by when their lease ends (milliseconds of Redis' clock)
-- KEYS[2]  hash: what each node says of itself
-- KEYS[3]  sorted set: nodes whose lease lapsed, by when the claim of who clears up after them ends
-- ARGV[1]  the node
-- ARGV[2]  milliseconds of a lease
-- ARGV[3]  milliseconds between two beats
-- ARGV[4]  milliseconds in which who claims a lapsed node clears up after it
-- ARGV[5]  what the node says of itself
-- ARGV[6]  "1" with the first beat of an incarnation, else "0"
--
-- Returns {is alive, claimed nodes, all nodes}. A node that is not alive was taken for dead, or Redis lost its memory:
-- what it had registered is gone.
--
-- Nobody is claimed while nobody could beat: if the newest lease of all is older than two beats, Redis was away or
-- stood still, and every lapsed node gets one more lease.

local nodes, info, lapsed = KEYS[1], KEYS[2], KEYS[3]
local node, lease, beat, claim = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if ARGV[6] ~= '1' and not redis.call('ZSCORE', nodes, node) then
    return {0, {}, {}}
end
local newest = redis.call('ZREVRANGE', nodes, 0, 0, 'WITHSCORES')[2]
local all_were_silent = newest and tonumber(newest) - lease < now - 2 * beat
redis.call('ZADD', nodes, now + lease, node)
redis.call('HSET', info, node, ARGV[5])

local claimed = {}
for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', '(' .. now)) do
    if all_were_silent then
        redis.call('ZADD', nodes, now + lease, other)
    else
        redis.call('ZREM', nodes, other)
        redis.call('HDEL', info, other)
        redis.call('ZADD', lapsed, 0, other)
    end
end
for _, other in ipairs(redis.call('ZRANGEBYSCORE', lapsed, '-inf', '(' .. now)) do
    redis.call('ZADD', lapsed, now + claim, other)
    claimed[#claimed + 1] = other
end
return {1, claimed, redis.call('ZRANGE', nodes, 0, -1)}
