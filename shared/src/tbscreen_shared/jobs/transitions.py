"""The job's state machine, as scripts that Redis runs atomically.

queued → started → succeeded | failed | canceled. A finished job never changes: whichever of a
redelivered job's runs finishes first stands. What is recorded is never taken back: whether its
maker learnt of it or not, another may have been promised it. A call whose answer was lost is
repeated by redis-py; its token tells it from a second call. Times are the Redis server's, in
milliseconds since the epoch, so that hosts with different clocks agree.

Whatever ends a job begins with a ZREM: from its first write on Redis lets a script pass
`maxmemory`, and a Redis that is full must let jobs end. CREATE begins with what takes memory.

The prelude's functions serve the scripts of whole batches as well.
"""

from typing import Final

from tbscreen_shared.jobs import keys

PRELUDE: Final = (
    f"""
local QUEUED, STARTED, DEAD = '{keys.QUEUED}', '{keys.STARTED}', '{keys.DEAD}'
local CALLBACKS, AUDIT = '{keys.CALLBACKS}', '{keys.AUDIT}'
local AUDIT_SEQUENCE, RETAINED = '{keys.AUDIT_SEQUENCE}', '{keys.RETAINED}'
local JOB, LEASE, BATCH = '{keys.JOB_PREFIX}', '{keys.LEASE_PREFIX}', '{keys.BATCH_PREFIX}'
local DONE, DRAINED = '{keys.DONE_CHANNEL_PREFIX}', '{keys.DRAINED_PREFIX}'
local IDEMPOTENCY, FORGONE = '{keys.IDEMPOTENCY_PREFIX}', '{keys.FORGONE_PREFIX}'
local BOUND = '{keys.BOUND}'
local DRAIN_BUCKET_S, DRAIN_WINDOW_S = {keys.DRAIN_BUCKET_S}, {keys.DRAIN_WINDOW_S}
"""
    + """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

-- One entry of the audit log, in the transaction of what it tells.
local function audit(event, job, ...)
  redis.call('XADD', AUDIT, '*', 'seq', redis.call('INCR', AUDIT_SEQUENCE), 'at', now,
    'event', event, 'job', job, ...)
end

local function is_final(status)
  return status ~= 'queued' and status ~= 'started'
end

local function exists(id)
  return redis.call('EXISTS', JOB .. id, BATCH .. id) > 0
end

local function has_room(count, max_queued)
  return max_queued == '' or redis.call('ZCARD', QUEUED) + count <= tonumber(max_queued)
end

-- Returns what there is to say of an id that is not to be made, with `count` jobs, and nil where it
-- is: its Idempotency-Key is bound to it then, until `IdempotencyKeys` lets that expire with it.
local function settle(id, count, max_queued, digest, fingerprint)
  if exists(id) then return {'made', id} end
  if redis.call('EXISTS', FORGONE .. id) == 1 then return {'forgone', id} end
  local binding = digest ~= '' and redis.call('GET', IDEMPOTENCY .. digest)
  if binding then
    local bound, of = string.match(binding, '^(%S+) (%S+)')
    -- One that is gone leaves its key to any other.
    if exists(bound) then return {of == fingerprint and 'replayed' or 'conflict', bound} end
  end
  if not has_room(count, max_queued) then return {'full', id} end
  if digest ~= '' then
    redis.call('SET', IDEMPOTENCY .. digest, id .. ' ' .. fingerprint)
    redis.call('SADD', BOUND, digest)
  end
  return nil
end

-- fields: blob, sha256, format, bytes, key id, request id, callback, batch, retry of, the
-- callback's seal
local function create_job(id, fields)
  local job = JOB .. id
  redis.call('HSET', job, 'status', 'queued', 'created_at', now, 'attempts', 0,
    'blob', fields[1], 'sha256', fields[2], 'format', fields[3])
  for number, field in ipairs({'key', 'request', 'callback', 'batch', 'retry_of',
      'callback_seal'}) do
    local value = fields[4 + number]
    if value ~= '' then redis.call('HSET', job, field, value) end
  end
  redis.call('ZADD', QUEUED, now, id)
  audit('accepted', id, 'key', fields[5], 'request', fields[6], 'sha256', fields[2],
    'format', fields[3], 'bytes', fields[4], 'batch', fields[8], 'retry_of', fields[9])
end

local function end_job(id, status, field, value, ttl_s)
  local job = JOB .. id
  redis.call('ZREM', QUEUED, id)
  redis.call('ZREM', STARTED, id)
  redis.call('DEL', LEASE .. id)
  redis.call('HSET', job, 'status', status, field, value, 'finished_at', now,
    'expires_at', now + ttl_s * 1000)
  redis.call('EXPIRE', job, ttl_s)
  local batch = redis.call('HGET', job, 'batch')
  -- Not of a batch that was erased: this would make it again.
  if batch and redis.call('EXISTS', BATCH .. batch) == 1 and
      redis.call('HINCRBY', BATCH .. batch, 'unfinished', -1) <= 0 then
    redis.call('EXPIRE', BATCH .. batch, ttl_s)
    redis.call('PUBLISH', DONE .. batch, 'finished')
  end
  -- Due at once, and not at `now`: a clock that is set back would hold it up until then.
  if redis.call('HEXISTS', job, 'callback') == 1 then redis.call('ZADD', CALLBACKS, 0, id) end
  local drained = DRAINED .. math.floor(now / (DRAIN_BUCKET_S * 1000))
  redis.call('INCR', drained)
  redis.call('EXPIRE', drained, DRAIN_WINDOW_S + 2 * DRAIN_BUCKET_S)
  redis.call('PUBLISH', DONE .. id, status)
end
"""
)

CREATE: Final = (
    PRELUDE
    + """
-- ARGV: id, blob, sha256, format, bytes, key id, request id, callback, batch, retry of,
--   the callback's seal, how many jobs may wait or '', Idempotency-Key's digest or '', its
--   fingerprint
local settled = settle(ARGV[1], 1, unpack(ARGV, 12, 14))
if settled then return settled end
create_job(ARGV[1], {unpack(ARGV, 2)})
return {'made', ARGV[1]}
"""
)

FORGO: Final = (
    PRELUDE
    + """
-- ARGV: id of a job or batch, for how many s it can not be made. DEL lets a full Redis take SET.
local id = ARGV[1]
if exists(id) then return 0 end
redis.call('DEL', FORGONE .. id)
redis.call('SET', FORGONE .. id, '', 'EX', ARGV[2])
return 1
"""
)

CLAIM: Final = (
    PRELUDE
    + """
-- ARGV: id, max attempts, result ttl s, error json, token, worker, lease s, lost worker
local id, max_attempts, worker, lost = ARGV[1], tonumber(ARGV[2]), ARGV[6], ARGV[8]
local job, lease = JOB .. id, LEASE .. id
local status = redis.call('HGET', job, 'status')
if not status then return {'gone', 0, now, ''} end
if is_final(status) then
  return {redis.call('ZSCORE', DEAD, id) and 'exhausted' or 'finished', 0, now, ''}
end
local attempts = tonumber(redis.call('HGET', job, 'attempts'))
if redis.call('HGET', job, 'claim_token') == ARGV[5] then
  return {'claimed', attempts, now, ''}
end
local holder = redis.call('GET', lease)
if holder and holder ~= worker and holder ~= lost then
  return {'held', attempts, now, holder}
end
redis.call('ZREM', QUEUED, id)
if attempts >= max_attempts then
  end_job(id, 'failed', 'error', ARGV[4], ARGV[3])
  redis.call('ZADD', DEAD, now, id)
  audit('given_up', id, 'attempts', attempts)
  return {'exhausted', attempts, now, ''}
end
attempts = redis.call('HINCRBY', job, 'attempts', 1)
redis.call('HSET', job, 'status', 'started', 'claim_token', ARGV[5])
redis.call('HSETNX', job, 'started_at', now)
redis.call('ZADD', STARTED, now, id)
redis.call('SET', lease, worker, 'EX', ARGV[7])
return {'claimed', attempts, now, ''}
"""
)

RENEW: Final = (
    PRELUDE
    + """
-- ARGV: id, worker, lease s. A lease that lapsed meanwhile is taken up again unless another's.
-- DEL lets a full Redis take SET.
local lease = LEASE .. ARGV[1]
local holder = redis.call('GET', lease)
if holder and holder ~= ARGV[2] then return 0 end
if redis.call('HGET', JOB .. ARGV[1], 'status') ~= 'started' then return 0 end
redis.call('DEL', lease)
redis.call('SET', lease, ARGV[2], 'EX', ARGV[3])
return 1
"""
)

RELEASE: Final = (
    PRELUDE
    + """
-- ARGV: id, worker, '1' to count the delivery, '0' to forget it
local lease = LEASE .. ARGV[1]
if redis.call('GET', lease) ~= ARGV[2] then return 0 end
redis.call('DEL', lease)
if ARGV[3] == '0' and redis.call('HGET', JOB .. ARGV[1], 'status') == 'started' then
  redis.call('HINCRBY', JOB .. ARGV[1], 'attempts', -1)
end
return 0
"""
)

FINISH: Final = (
    PRELUDE
    + """
-- ARGV: id, status, field (result or error), its json, result ttl s, model sha256 or error code,
--   model version or '', for how many s the upload is retained
local id = ARGV[1]
local status = redis.call('HGET', JOB .. id, 'status')
if not status or is_final(status) then return 0 end
end_job(id, ARGV[2], ARGV[3], ARGV[4], ARGV[5])
if tonumber(ARGV[8]) > 0 then
  redis.call('ZADD', RETAINED, now + ARGV[8] * 1000, redis.call('HGET', JOB .. id, 'blob'))
end
audit(ARGV[2], id, ARGV[3] == 'result' and 'model' or 'code', ARGV[6], 'version', ARGV[7],
  'sha256', redis.call('HGET', JOB .. id, 'sha256'))
return 1
"""
)

CANCEL: Final = (
    PRELUDE
    + """
-- ARGV: id, result ttl s, token, key id, request id, '1' to leave a finished one alone
local id, token = ARGV[1], ARGV[3]
local job = JOB .. id
local status = redis.call('HGET', job, 'status')
if not status then return 'gone' end
if not is_final(status) then
  end_job(id, 'canceled', 'cancel_token', token, ARGV[2])
  audit('canceled', id, 'key', ARGV[4], 'request', ARGV[5])
  return 'canceled'
end
if redis.call('HGET', job, 'cancel_token') == token then return 'canceled' end
if ARGV[6] == '1' then return status == 'canceled' and 'canceled' or 'finished' end
redis.call('ZREM', DEAD, id)
redis.call('ZREM', CALLBACKS, id)
redis.call('ZREM', RETAINED, redis.call('HGET', job, 'blob'))
redis.call('DEL', job)
audit('erased', id, 'key', ARGV[4], 'request', ARGV[5])
return 'erased'
"""
)


CLAIM_CALLBACK: Final = (
    PRELUDE
    + """
-- ARGV: id, token, lease ms. Claimed, it is due again when the lease is over.
local id, token = ARGV[1], ARGV[2]
local job = JOB .. id
local function claimed()
  return {'claimed', redis.call('HGET', job, 'callback'),
    tonumber(redis.call('HGET', job, 'callback_attempts')),
    redis.call('HGET', job, 'callback_seal') or ''}
end
if redis.call('HGET', job, 'callback_token') == token then return claimed() end
local due = redis.call('ZSCORE', CALLBACKS, id)
if not due or tonumber(due) > now then return {'taken', '', 0, ''} end
redis.call('ZREM', CALLBACKS, id)
if redis.call('HEXISTS', job, 'callback') == 0 then
  audit('callback_given_up', id, 'error', 'expired')
  return {'expired', '', 0, ''}
end
redis.call('ZADD', CALLBACKS, now + ARGV[3], id)
redis.call('HSET', job, 'callback_token', token, 'callback_at', now)
redis.call('HINCRBY', job, 'callback_attempts', 1)
return claimed()
"""
)

SETTLE_CALLBACK: Final = (
    PRELUDE
    + """
-- ARGV: id, token, outcome (delivered, retry, given_up), attempts, what is told of the attempt
-- (status or error), its value, ms until the next attempt.
local id, token, outcome = ARGV[1], ARGV[2], ARGV[3]
local job = JOB .. id
if not redis.call('ZSCORE', CALLBACKS, id) then return 'settled' end
-- Whoever delivered it has delivered it; a failure counts only for the attempt that is the latest.
local latest = redis.call('HGET', job, 'callback_token') == token
if outcome ~= 'delivered' and not latest then return 'settled' end
redis.call('ZREM', CALLBACKS, id)
if outcome == 'retry' then
  local next_at = now + ARGV[7]
  if next_at < tonumber(redis.call('HGET', job, 'expires_at')) then
    redis.call('ZADD', CALLBACKS, next_at, id)
  else
    outcome = 'given_up'
  end
end
if redis.call('EXISTS', job) == 1 then
  redis.call('HDEL', job, 'callback_token', 'callback_status', 'callback_error')
  redis.call('HSET', job, 'callback_outcome', outcome, 'callback_' .. ARGV[5], ARGV[6])
end
if outcome ~= 'retry' then
  audit('callback_' .. outcome, id, 'attempts', ARGV[4], ARGV[5], ARGV[6])
end
return outcome
"""
)
