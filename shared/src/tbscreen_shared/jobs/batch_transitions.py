"""What happens to a whole batch, as scripts that Redis runs atomically.

A batch is there with all its jobs or not at all, whenever its gateway is killed.
"""

from typing import Final

from tbscreen_shared.jobs.transitions import PRELUDE

CREATE_BATCH: Final = (
    PRELUDE
    + """
-- ARGV: batch id, entries json, skipped, how many jobs, key id, request id, callback,
--   then for each job: id, blob, sha256, format, bytes, the callback's seal
local id = ARGV[1]
local batch = BATCH .. id
if redis.call('EXISTS', batch) == 1 then return 0 end
redis.call('HSET', batch, 'created_at', now, 'entries', ARGV[2], 'skipped', ARGV[3],
  'unfinished', ARGV[4])
for at = 8, 8 + 6 * (ARGV[4] - 1), 6 do
  create_job(ARGV[at], {ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4],
    ARGV[5], ARGV[6], ARGV[7], id, '', ARGV[at + 5]})
end
return 1
"""
)

TAKE_BACK_BATCH: Final = (
    PRELUDE
    + """
-- ARGV: batch id, then its jobs' ids. What a worker has made of them meanwhile goes as well:
-- nobody was promised it.
for number = 2, #ARGV do
  local id = ARGV[number]
  for _, set in ipairs({QUEUED, STARTED, DEAD, CALLBACKS}) do redis.call('ZREM', set, id) end
  redis.call('DEL', LEASE .. id)
  if redis.call('DEL', JOB .. id) == 1 then audit('taken_back', id) end
end
redis.call('DEL', BATCH .. ARGV[1])
return 0
"""
)

STATUSES: Final = (
    PRELUDE
    + """
-- ARGV: jobs' ids. One string: redis-py takes replies apart one by one, in Python.
local statuses = {}
for number, id in ipairs(ARGV) do
  statuses[number] = redis.call('HGET', JOB .. id, 'status') or ''
end
return table.concat(statuses, ' ')
"""
)
