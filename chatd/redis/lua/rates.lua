-- Takes from several counts of one subject: from all, or from none. The arithmetic is that of chatd/limits.py.
--
-- KEYS     one for each policy. Of a rate: when the bucket is full again, in microseconds of this server's time;
--          of a quota: how much of the day is used. Each ends when it says no more than its absence would
-- ARGV  1  how much to take
--       …  for each policy its rate a second (0: a quota of the day) and its burst
--
-- Returns for each policy three numbers: the microseconds to wait (0: it would have passed), what is left, and the
-- microseconds until all is back.

local DAY = 86400 * 1000000
-- Fractions of a microsecond are rounded; who waited as long as told must not be refused again for one.
local SLACK = 1

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local count = tonumber(ARGV[1])
local found = {}
local passes = true

for place, key in ipairs(KEYS) do
    local rate, burst = tonumber(ARGV[2 * place]), tonumber(ARGV[2 * place + 1])
    local kept = tonumber(redis.call('GET', key) or 0)
    local one = {rate = rate, burst = burst, wait = 0}
    if rate == 0 then
        one.before, one.after = kept, kept + count
        if one.after > burst then
            one.wait = DAY - now % DAY
        end
    else
        one.before = math.max(0, kept - now)
        one.after = one.before + count * 1000000 / rate
        local over = one.after - burst * 1000000 / rate
        -- More than a whole burst passes when the bucket is full, and then costs its time.
        if one.before > 0 and over > SLACK then
            one.wait = math.ceil(math.min(over, one.before)) + SLACK
        end
    end
    passes = passes and one.wait == 0
    found[place] = one
end

local answer = {}
for place, key in ipairs(KEYS) do
    local one = found[place]
    local stands = passes and one.after or one.before
    local left, back
    if one.rate == 0 then
        left, back = one.burst - stands, DAY - now % DAY
        if passes and count > 0 then
            redis.call('SET', key, stands, 'PX', math.ceil(back / 1000))
        end
    else
        left, back = one.burst - stands * one.rate / 1000000 + 0.000001, stands
        if passes and count > 0 then
            redis.call('SET', key, string.format('%.2f', now + stands), 'PX', math.ceil(stands / 1000))
        end
    end
    answer[3 * place - 2] = one.wait
    answer[3 * place - 1] = math.max(0, math.floor(left))
    answer[3 * place] = math.ceil(back)
end
return answer
