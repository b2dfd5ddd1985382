-- Quotas, shared by all API processes: charge each request of a batch to all of its limits, or to none of them.
--
-- KEYS[i]  gateway:quota:<limit>:<tenant or key id>   hash; absent = nothing is used. Two kinds of limit:
--   token bucket   tokens  tokens left at the instant ``at``, a decimal fraction
--                  at      microseconds since the epoch, by the server's own clock
--   count of a day day     days since the epoch (UTC)
--                  used    how much of the capacity that day has used
-- ARGV[i]  a request: its limits in the order of KEYS, as three numbers each, separated by blanks (one argument, because
--          a client's library spends more on packing arguments than all the rest costs):
--            wanted      a whole number; below 0 gives back, and is never refused
--            per_second  tokens added per second; 0 for the count of a day
--            capacity    tokens that the bucket holds, or the day's count, >= 1
-- Returns for each key {left, milliseconds until ``wanted`` fits (0: it fits), milliseconds until all is there again}.
-- A bucket's key expires when it would be full again, a day's at midnight.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local today = math.floor(tonumber(time[1]) / 86400)
local until_midnight = math.ceil((today + 1) * 86400000 - now / 1000)

local function read(key, rate, capacity)
  if rate == 0 then
    local state = redis.call('HMGET', key, 'day', 'used')
    -- After a failover the clock may be before midnight again: then the new day goes on.
    local same = state[1] and tonumber(state[1]) >= today
    return same and math.max(0, capacity - tonumber(state[2])) or capacity
  end
  local state = redis.call('HMGET', key, 'tokens', 'at')
  if not state[1] then
    return capacity
  end
  local elapsed = math.max(0, now - tonumber(state[2]))
  return math.min(capacity, tonumber(state[1]) + elapsed * rate / 1000000)
end

local function write(key, rate, capacity, left)
  if rate == 0 then
    redis.call('HSET', key, 'day', today, 'used', string.format('%.0f', capacity - left))
    redis.call('PEXPIRE', key, until_midnight)
  else
    redis.call('HSET', key, 'tokens', string.format('%.17g', left), 'at', string.format('%.0f', now))
    redis.call('PEXPIRE', key, math.ceil((capacity - left) / rate * 1000) + 1)
  end
end

local answers = {}
for _, request in ipairs(ARGV) do
  local limits, fits = {}, true
  for wanted, rate, capacity in string.gmatch(request, '(%S+) (%S+) (%S+)') do
    wanted, rate, capacity = tonumber(wanted), tonumber(rate), tonumber(capacity)
    local key = KEYS[#answers + #limits + 1]
    local left = read(key, rate, capacity)
    limits[#limits + 1] = {key = key, wanted = wanted, rate = rate, capacity = capacity, left = left}
    -- Tolerance for floating point: 0.3 + 0.7 must make one token.
    fits = fits and wanted <= left + 1e-9
  end
  for _, limit in ipairs(limits) do
    local wait, rate = 0, limit.rate
    if fits then
      limit.left = math.min(limit.capacity, math.max(0, limit.left - limit.wanted))
      write(limit.key, rate, limit.capacity, limit.left)
    elseif limit.wanted > limit.left + 1e-9 then
      wait = rate == 0 and until_midnight or math.max(1, math.ceil((limit.wanted - limit.left) / rate * 1000))
    end
    local reset = rate == 0 and until_midnight or math.ceil((limit.capacity - limit.left) / rate * 1000)
    answers[#answers + 1] = {math.floor(limit.left + 1e-9), wait, reset}
  end
end
return answers
