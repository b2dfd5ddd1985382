-- Enqueue arq jobs and wake as many workers: what arq's ``enqueue_job`` writes, in one command for all of them.
--
-- KEYS[1]   gateway:dispatch         sorted set; job ids by the instant from which they are due, in milliseconds
-- KEYS[2]   gateway:dispatch:calls   list; idle workers block on it, and each entry wakes one of them
-- KEYS[3…]  arq:job:<id>             string; the serialised job; expires
-- ARGV[1]   milliseconds until a job's key expires, > 0
-- ARGV[2]   the instant from which the jobs are due
-- ARGV[3]   most entries of the list of wake-ups, >= 1
-- ARGV[4…]  for each job its id, and the job
-- Returns the number of jobs.

for number = 1, #KEYS - 2 do
  local id, job = ARGV[2 + 2 * number], ARGV[3 + 2 * number]
  redis.call('PSETEX', KEYS[2 + number], ARGV[1], job)
  redis.call('ZADD', KEYS[1], ARGV[2], id)
  redis.call('LPUSH', KEYS[2], id)
end
redis.call('LTRIM', KEYS[2], 0, ARGV[3] - 1)
return #KEYS - 2
