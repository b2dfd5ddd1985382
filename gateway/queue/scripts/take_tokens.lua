-- Token bucket (rate limiter), shared by all workers: take up to the wanted number of tokens, atomically.
--
-- KEYS[1]  gateway:tokens:<provider>   hash; absent = full bucket
--            tokens  tokens left at the instant ``at``, a decimal fraction
--            at      microseconds since the epoch, by the server's own clock
-- ARGV[1]  tokens wanted, a whole number >= 1
-- ARGV[2]  tokens added per second, > 0
-- ARGV[3]  capacity of the bucket (burst), >= 1
-- Returns {granted, milliseconds until the rest (or a full bucket, if that is less) is available}.
-- The key expires when the bucket would be full again: an absent key means a full bucket.

local wanted, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local tokens = burst
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
if state[1] then
  -- After a failover the clock may be before ``at``: then no time has passed.
  local elapsed = math.max(0, now - tonumber(state[2]))
  tokens = math.min(burst, tonumber(state[1]) + elapsed * rate / 1000000)
end

-- Tolerance for floating point: 0.3 + 0.7 must make one token.
local granted = math.min(wanted, math.floor(tokens + 1e-9))
tokens = math.max(0, tokens - granted)

local lacking = math.min(wanted - granted, burst) - tokens
local wait = 0
if wanted > granted then
  wait = math.max(1, math.ceil(lacking / rate * 1000))
end

redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / rate * 1000) + 1)
return {granted, wait}
