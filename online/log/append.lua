-- Appends one batch of records to a log: all of them, in order, at consecutive positions, once.
--
-- KEYS  1 log (stream)   2 sequence (string)   3 writers (hash)
-- ARGV  1 writer id   2 batch number, growing per writer   3 highest position the writer knows of   4... records
-- Reply: the position of the first record of the batch.
--
-- A batch that is sent again, because its reply was lost, gets the reply of the first time. One that arrives after a
-- later one of the same writer (an old connection's last bytes) is refused. Only what Redis 6.2 and Valkey share.

local WRITERS_MAX = 1000

local batch = tonumber(ARGV[2])
local known = tonumber(ARGV[3])
local count = #ARGV - 3

local last = redis.call('HGET', KEYS[3], ARGV[1])
if last then
  local last_batch, last_first = string.match(last, '^(%d+) (%d+)$')
  last_batch = tonumber(last_batch)
  if last_batch == batch then
    return tonumber(last_first)
  elseif last_batch > batch then
    return redis.error_reply('STALEBATCH the writer has sent a later batch since')
  end
elseif redis.call('HLEN', KEYS[3]) >= WRITERS_MAX then
  -- Writers come and go with every restart: forget the half that appended longest ago, by position, not by clock.
  local all = redis.call('HGETALL', KEYS[3])
  local writers = {}
  for i = 1, #all, 2 do
    writers[#writers + 1] = { id = all[i], at = tonumber(string.match(all[i + 1], ' (%d+)$')) }
  end
  table.sort(writers, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.id < b.id
  end)
  for i = 1, WRITERS_MAX / 2 do
    redis.call('HDEL', KEYS[3], writers[i].id)
  end
end

local sequence = tonumber(redis.call('GET', KEYS[2]) or '0')
if sequence < known then
  return redis.error_reply('WENTBACK ' .. string.format('%.0f', sequence))
end

-- The first XADD is the one that can fail: a stream that is ahead of its sequence, or no stream at all.
local first = sequence + 1
local added = redis.pcall('XADD', KEYS[1], string.format('%.0f-0', first), 'r', ARGV[4])
if type(added) == 'table' and added.err then
  return added
end
for i = 2, count do
  redis.call('XADD', KEYS[1], string.format('%.0f-0', sequence + i), 'r', ARGV[i + 3])
end
redis.call('SET', KEYS[2], string.format('%.0f', sequence + count))
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', first))
return first
