"""The job's state machine, as scripts that Redis runs atomically.

queued → started → succeeded | failed | canceled. A finished job never changes: whichever of a
redelivered job's runs finishes first stands. A call whose answer was lost is repeated by redis-py;
its token tells it from a second call. Times are the Redis server's, in milliseconds since
the epoch, so that hosts with different clocks agree.
"""

from typing import Final

_NOW: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

CREATE: Final = (
    _NOW
    + """
-- KEYS: job, queued. ARGV: id, blob, sha256, format
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'status', 'queued', 'created_at', now, 'attempts', 0,
  'blob', ARGV[2], 'sha256', ARGV[3], 'format', ARGV[4])
redis.call('ZADD', KEYS[2], now, ARGV[1])
return 1
"""
)

DISCARD: Final = """
-- KEYS: job, queued. ARGV: id. Takes back a job whose task never reached the queue.
if redis.call('HGET', KEYS[1], 'status') ~= 'queued' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""

CLAIM: Final = (
    _NOW
    + """
-- KEYS: job, queued, dead. ARGV: id, max attempts, result ttl s, channel, error json,
-- token
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return {'gone', 0, now} end
if status ~= 'queued' and status ~= 'started' then return {'finished', 0, now} end
redis.call('ZREM', KEYS[2], ARGV[1])
local attempts = tonumber(redis.call('HGET', KEYS[1], 'attempts'))
if redis.call('HGET', KEYS[1], 'claim_token') == ARGV[6] then
  return {'claimed', attempts, now}
end
if attempts >= tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'status', 'failed', 'finished_at', now, 'error', ARGV[5],
    'expires_at', now + ARGV[3] * 1000)
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  redis.call('LPUSH', KEYS[3], ARGV[1])
  redis.call('PUBLISH', ARGV[4], 'failed')
  return {'exhausted', attempts, now}
end
attempts = redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('HSET', KEYS[1], 'status', 'started', 'claim_token', ARGV[6])
redis.call('HSETNX', KEYS[1], 'started_at', now)
return {'claimed', attempts, now}
"""
)

FINISH: Final = (
    _NOW
    + """
-- KEYS: job, queued. ARGV: id, status, field (result or error), its json, result ttl s, channel
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'queued' and status ~= 'started' then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], 'status', ARGV[2], ARGV[3], ARGV[4], 'finished_at', now,
  'expires_at', now + ARGV[5] * 1000)
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('PUBLISH', ARGV[6], ARGV[2])
return 1
"""
)

CANCEL: Final = (
    _NOW
    + """
-- KEYS: job, queued. ARGV: id, result ttl s, channel, token
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 'gone' end
if status == 'queued' or status == 'started' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HSET', KEYS[1], 'status', 'canceled', 'finished_at', now,
    'cancel_token', ARGV[4], 'expires_at', now + ARGV[2] * 1000)
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('PUBLISH', ARGV[3], 'canceled')
  return 'canceled'
end
if redis.call('HGET', KEYS[1], 'cancel_token') == ARGV[4] then return 'canceled' end
redis.call('DEL', KEYS[1])
return 'erased'
"""
)

FORGET: Final = """
-- KEYS: idempotency binding. ARGV: id of the job it must name
local binding = redis.call('GET', KEYS[1])
if binding and string.sub(binding, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
  redis.call('DEL', KEYS[1])
end
return 0
"""
