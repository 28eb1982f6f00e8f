-- One step of the life of jobs of one queue. storage/jobs.py says what each promises.
--
-- KEYS[1]  counter: the last job's number. An id is its number in 16 digits, so that texts sort as numbers do
-- KEYS[2]  hash: id → what is known of the job, packed by `save`
-- KEYS[3]  hash: id → body
-- KEYS[4]  sorted set: jobs that can be claimed, by when they can (a claimed one: when its lease ends)
-- KEYS[5]  set: claimed jobs
-- KEYS[6]  sorted set: LANE NUL ID of jobs that are not dead, all with score 0, so that they sort as texts
-- KEYS[7]  hash: lane → the one job of it that can be claimed or is
-- KEYS[8]  hash: the sender's key → id
-- KEYS[9]  sorted set: jobs that are not dead, by number
-- KEYS[10] sorted set: dead jobs, by number
-- ARGV[1]  the step; what follows is said there

local COUNTER, KNOWN, BODIES, READY, CLAIMED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local LANES, OPEN, BY_KEY, LIVE, DEAD = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local WAITING, IN_HAND, BLOCKED, GIVEN_UP = 'w', 'c', 'b', 'd'

local function load(id)
    local packed = redis.call('HGET', KNOWN, id)
    if not packed then
        return nil
    end
    local job = {}
    job.state, job.lane, job.key, job.due, job.attempts, job.created_at, job.error = unpack(cmsgpack.unpack(packed))
    return job
end

local function save(id, job)
    local values = {job.state, job.lane, job.key, job.due, job.attempts, job.created_at, job.error}
    redis.call('HSET', KNOWN, id, cmsgpack.pack(values))
end

-- Returns the job if this claim of it still holds.
local function held(id, attempts)
    local job = load(id)
    if job and job.state == IN_HAND and job.attempts == tonumber(attempts) then
        return job
    end
    return nil
end

local function wait(id, job)
    job.state = WAITING
    redis.call('ZADD', READY, job.due, id)
    if job.lane ~= '' then
        redis.call('HSET', OPEN, job.lane, id)
    end
end

-- Lets the first job of a lane be claimed, where no other of it can be or is.
local function open_lane(lane)
    if lane == '' or redis.call('HEXISTS', OPEN, lane) == 1 then
        return
    end
    local first = redis.call('ZRANGEBYLEX', LANES, '[' .. lane .. '\0', '[' .. lane .. '\0\255', 'LIMIT', 0, 1)[1]
    if first then
        local id = string.sub(first, -16)
        local job = load(id)
        wait(id, job)
        save(id, job)
    end
end

local function leave_lane(id, job)
    if job.lane ~= '' then
        redis.call('ZREM', LANES, job.lane .. '\0' .. id)
        if redis.call('HGET', OPEN, job.lane) == id then
            redis.call('HDEL', OPEN, job.lane)
        end
        open_lane(job.lane)
    end
end

local function forget(id, job)
    redis.call('HDEL', KNOWN, id)
    redis.call('HDEL', BODIES, id)
    redis.call('ZREM', READY, id)
    redis.call('SREM', CLAIMED, id)
    redis.call('ZREM', LIVE, id)
    redis.call('ZREM', DEAD, id)
    if job.key ~= '' then
        redis.call('HDEL', BY_KEY, job.key)
    end
    leave_lane(id, job)
end

-- Returns a job as the caller reads it.
local function shown(id, job)
    local body = redis.call('HGET', BODIES, id)
    return {id, job.lane, job.key, body, job.due, job.attempts, job.created_at, job.error}
end

local steps = {}

-- now, bound, then due, lane, key and body of each job → how many were new, or -1 with nothing done: too many wait
function steps.put()
    local now, bound = tonumber(ARGV[2]), tonumber(ARGV[3])
    local new, seen = {}, {}
    for at = 4, #ARGV, 4 do
        local key = ARGV[at + 2]
        if key == '' or not (seen[key] or redis.call('HEXISTS', BY_KEY, key) == 1) then
            seen[key] = true
            new[#new + 1] = at
        end
    end
    if #new > 0 and redis.call('ZCARD', LIVE) + #new > bound then
        return -1
    end
    for _, at in ipairs(new) do
        local number = redis.call('INCR', COUNTER)
        local id = string.format('%016.0f', number)
        local job = {state = BLOCKED, lane = ARGV[at + 1], key = ARGV[at + 2], due = tonumber(ARGV[at])}
        job.attempts, job.created_at, job.error = 0, now, ''
        redis.call('HSET', BODIES, id, ARGV[at + 3])
        redis.call('ZADD', LIVE, number, id)
        if job.key ~= '' then
            redis.call('HSET', BY_KEY, job.key, id)
        end
        if job.lane == '' then
            wait(id, job)
            save(id, job)
        else
            save(id, job)
            redis.call('ZADD', LANES, 0, job.lane .. '\0' .. id)
            open_lane(job.lane)
        end
    end
    return #new
end

-- now, the end of the lease, limit → jobs
function steps.claim()
    local found = {}
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', READY, '-inf', ARGV[2], 'LIMIT', 0, ARGV[4])) do
        local job = load(id)
        job.state, job.attempts = IN_HAND, job.attempts + 1
        save(id, job)
        redis.call('ZADD', READY, ARGV[3], id)
        redis.call('SADD', CLAIMED, id)
        found[#found + 1] = shown(id, job)
    end
    return found
end

-- id and attempts of each job
function steps.finish()
    for at = 2, #ARGV, 2 do
        local job = held(ARGV[at], ARGV[at + 1])
        if job then
            forget(ARGV[at], job)
        end
    end
end

-- id, attempts, due, error
function steps.retry()
    local id = ARGV[2]
    local job = held(id, ARGV[3])
    if job then
        job.due, job.error = tonumber(ARGV[4]), ARGV[5]
        redis.call('SREM', CLAIMED, id)
        wait(id, job)
        save(id, job)
    end
end

-- id, attempts, error, how many dead ones are kept
function steps.bury()
    local id = ARGV[2]
    local job = held(id, ARGV[3])
    if not job then
        return
    end
    job.state, job.error = GIVEN_UP, ARGV[4]
    save(id, job)
    redis.call('ZREM', READY, id)
    redis.call('SREM', CLAIMED, id)
    redis.call('ZREM', LIVE, id)
    redis.call('ZADD', DEAD, tonumber(id), id)
    leave_lane(id, job)
    local surplus = redis.call('ZCARD', DEAD) - tonumber(ARGV[5])
    if surplus > 0 then
        for _, oldest in ipairs(redis.call('ZRANGE', DEAD, 0, surplus - 1)) do
            forget(oldest, load(oldest))
        end
    end
end

-- "live" or "dead", the number behind which the page begins, limit → jobs
function steps.page()
    local found = {}
    local jobs = ARGV[2] == 'live' and LIVE or DEAD
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', jobs, '(' .. ARGV[3], '+inf', 'LIMIT', 0, ARGV[4])) do
        found[#found + 1] = shown(id, load(id))
    end
    return found
end

-- now, ids → how many were dead
function steps.replay()
    local count = 0
    for at = 3, #ARGV do
        local id = ARGV[at]
        local job = load(id)
        if job and job.state == GIVEN_UP then
            count = count + 1
            job.state, job.due, job.attempts, job.error = BLOCKED, tonumber(ARGV[2]), 0, ''
            redis.call('ZREM', DEAD, id)
            redis.call('ZADD', LIVE, tonumber(id), id)
            if job.lane == '' then
                wait(id, job)
                save(id, job)
            else
                save(id, job)
                redis.call('ZADD', LANES, 0, job.lane .. '\0' .. id)
                local first = redis.call('HGET', OPEN, job.lane)
                local other = first and load(first)
                if other and other.state == WAITING then
                    other.state = BLOCKED
                    save(first, other)
                    redis.call('ZREM', READY, first)
                    redis.call('HDEL', OPEN, job.lane)
                end
                open_lane(job.lane)
            end
        end
    end
    return count
end

-- keys → how many jobs there were
function steps.cancel()
    local count = 0
    for at = 2, #ARGV do
        local id = redis.call('HGET', BY_KEY, ARGV[at])
        local job = id and load(id)
        if job and job.state ~= GIVEN_UP then
            forget(id, job)
            count = count + 1
        end
    end
    return count
end

-- → how many are not dead, claimed, dead; and when one can be claimed next, or nothing
function steps.look()
    local first = redis.call('ZRANGE', READY, 0, 0, 'WITHSCORES')
    local answer = {redis.call('ZCARD', LIVE), redis.call('SCARD', CLAIMED), redis.call('ZCARD', DEAD)}
    if first[2] then
        answer[4] = tonumber(first[2])
    end
    return answer
end

return steps[ARGV[1]]()
