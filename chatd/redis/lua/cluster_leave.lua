-- Ends a node's lease at once: whoever beats next clears up after it.
--
-- KEYS[1]  sorted set: nodes, by when their lease ends
-- KEYS[2]  hash: what each node says of itself
-- KEYS[3]  sorted set: nodes whose lease lapsed, by when the claim of who clears up after them ends
-- ARGV[1]  the node

redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
    redis.call('ZADD', KEYS[3], 0, ARGV[1])
end
return 1
