"""What happens to a whole batch, as scripts that Redis runs atomically.

A batch is there with all its jobs or not at all, whenever its gateway is killed.
"""

from typing import Final

from tbscreen_shared.jobs.transitions import PRELUDE

CREATE_BATCH: Final = (
    PRELUDE
    + """
-- ARGV: batch id, entries json, skipped, how many jobs, key id, request id, callback,
--   how many jobs may wait or '', Idempotency-Key's digest or '', its fingerprint,
--   then for each job: id, blob, sha256, format, bytes, the callback's seal
local id = ARGV[1]
local batch = BATCH .. id
local settled = settle(id, ARGV[4], unpack(ARGV, 8, 10))
if settled then return settled end
redis.call('HSET', batch, 'created_at', now, 'entries', ARGV[2], 'skipped', ARGV[3],
  'unfinished', ARGV[4])
for at = 11, 11 + 6 * (ARGV[4] - 1), 6 do
  create_job(ARGV[at], {ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4],
    ARGV[5], ARGV[6], ARGV[7], id, '', ARGV[at + 5]})
end
return {'made', id}
"""
)

LOOK: Final = (
    PRELUDE
    + """
-- ARGV: how many jobs' statuses are wanted, their ids, the ids of those whose outcome is.
-- The statuses in one string: redis-py takes replies apart one by one, in Python.
local statuses, answer = {}, {''}
for number = 2, #ARGV do
  local job = JOB .. ARGV[number]
  if number <= ARGV[1] + 1 then
    statuses[number - 1] = redis.call('HGET', job, 'status') or ''
  else
    answer[#answer + 1] = redis.call('HMGET', job, 'status', 'result', 'error')
  end
end
answer[1] = table.concat(statuses, ' ')
return answer
"""
)
