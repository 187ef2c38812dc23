-- Appends one batch of records to a log: all of them, in order, at consecutive positions, once. A record may carry a
-- claim on a place of a stock: it is appended only where the stock grants it, in this same step.
--
-- KEYS  1 log (stream)   2 sequence (string)   3 writers (hash)   4... stocks (hashes) that the claims are on
-- ARGV  1 writer id   2 batch number, growing per writer   3 highest position the writer knows of   4 number of claims
--       5... six for each claim: number of its record, number of its key, verb, id, at, number   then the records
-- Reply: the position of the first record of the batch; with claims a list: that, and a verdict, a position and the
-- places left for each of them.
--
-- A batch that is sent again, because its reply was lost, gets the reply of the first time. One that arrives after a
-- later one of the same writer (an old connection's last bytes) is refused. Only what Redis 6.2 and Valkey share.
--
-- A stock has a limit of places; `taken` and `held` of them are gone. A field 'c:<id>' is a claim that was granted:
-- 'h <until> <position> <left>' holds a place, 't <position> <left>' took it, 'g <position> <left>' gave it back. A hold
-- ends by the time `at` of the claims that are granted after it, never by a clock, so that whoever reads the log
-- counts the same. `soonest` is a time before which no hold ends.

local WRITERS_MAX = 1000

local batch = tonumber(ARGV[2])
local known = tonumber(ARGV[3])
local claims = tonumber(ARGV[4])
local before = 4 + 6 * claims -- arguments before the first record
local count = #ARGV - before

local function whole(number)
  return string.format('%.0f', number)
end

-- What was answered, out of 'first' and 'verdict position left' for each claim.
local function answer(text)
  local words = {}
  for word in string.gmatch(text, '%S+') do
    words[#words + 1] = tonumber(word) or word
  end
  return claims == 0 and words[1] or words
end

local last = redis.call('HGET', KEYS[3], ARGV[1])
if last then
  local last_batch, told = string.match(last, '^(%d+) (.*)$')
  last_batch = tonumber(last_batch)
  if last_batch == batch then
    return answer(told)
  elseif last_batch > batch then
    return redis.error_reply('STALEBATCH the writer has sent a later batch since')
  end
elseif redis.call('HLEN', KEYS[3]) >= WRITERS_MAX then
  -- Writers come and go with every restart: forget the half that appended longest ago, by position, not by clock.
  local all = redis.call('HGETALL', KEYS[3])
  local writers = {}
  for i = 1, #all, 2 do
    writers[#writers + 1] = { id = all[i], at = tonumber(string.match(all[i + 1], '^%d+ (%d+)')) }
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
  return redis.error_reply('WENTBACK ' .. whole(sequence))
end

if claims == 0 then
  -- The first XADD is the one that can fail: a stream that is ahead of its sequence, or no stream at all.
  local added = redis.pcall('XADD', KEYS[1], whole(sequence + 1) .. '-0', 'r', ARGV[5])
  if type(added) == 'table' and added.err then
    return added
  end
  for i = 2, count do
    redis.call('XADD', KEYS[1], whole(sequence + i) .. '-0', 'r', ARGV[before + i])
  end
  redis.call('SET', KEYS[2], whole(sequence + count))
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. whole(sequence + 1))
  return sequence + 1
end

-- Nothing is undone in a script, so all that can fail is asked before the first word is written.
if redis.call('EXISTS', KEYS[1]) == 1 then
  local found = redis.pcall('XINFO', 'STREAM', KEYS[1])
  if found.err then return found end
  for i = 1, #found, 2 do
    if found[i] == 'last-generated-id' and tonumber(string.match(found[i + 1], '^%d+')) > sequence then
      return redis.error_reply('ERR the stream is ahead of its sequence')
    end
  end
end
for i = 4, #KEYS do
  local found = redis.pcall('HLEN', KEYS[i])
  if type(found) == 'table' and found.err then return found end
end

-- The holds of a stock that have ended at `at`, and when the next one may end.
local function ended(key, at)
  local gone, soonest = {}, nil
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local till = string.match(all[i + 1], '^h (%d+)')
    till = till and tonumber(till)
    if till and till < at then
      gone[#gone + 1] = all[i]
    elseif till and (soonest == nil or till < soonest) then
      soonest = till
    end
  end
  return gone, soonest or 0
end

-- Whether a stock grants a claim: a verdict, a position (of the record that was granted it before), places left.
local function judge(key, verb, id, at, number, position)
  local facts = redis.call('HMGET', key, 'limit', 'taken', 'held', 'soonest', 'c:' .. id)
  local limit, taken, held = tonumber(facts[1] or '0'), tonumber(facts[2] or '0'), tonumber(facts[3] or '0')
  local soonest, claim = tonumber(facts[4] or '0'), facts[5]
  local kind = claim and string.sub(claim, 1, 1)
  local since, left_then = 0, 0
  if kind then
    since, left_then = string.match(claim, '(%d+) (%d+)$')
    since, left_then = tonumber(since), tonumber(left_then)
  end
  local repeated = (verb == 'take' and kind == 't') or (verb == 'give' and kind == 'g') or (verb == 'hold' and kind)
  if repeated then return 'again', since, left_then end
  if verb ~= 'limit' and not facts[1] then return 'unknown', 0, 0 end

  local gone = {}
  if held > 0 and at > soonest then
    gone, soonest = ended(key, at)
    held = held - #gone
    if kind == 'h' and tonumber(string.match(claim, '^h (%d+)')) < at then kind = nil end
  end
  local left = limit - taken - held
  local granted = nil -- what stands in the claim's field from now on; '' for nothing
  if verb == 'limit' then
    if number < taken + held then return 'in_use', 0, left end
    limit, granted = number, ''
  elseif verb == 'hold' then
    if left < 1 then return 'none_left', 0, left end
    held, granted = held + 1, 'h ' .. whole(number)
    soonest = held == 1 and number or math.min(soonest, number)
  elseif verb == 'take' then
    if kind == 'g' then return 'given_back', since, left end
    if at > number then return 'expired', 0, left end
    if kind == 'h' then held = held - 1 elseif left < 1 then return 'none_left', 0, left end
    taken, granted = taken + 1, 't'
  elseif verb == 'pass' then
    if kind == 't' or kind == 'g' then return 'taken', since, left end
    if kind == 'h' then held = held - 1 end
    granted = ''
  elseif verb == 'give' then
    if kind ~= 't' then return 'unknown', 0, left end
    taken, granted = taken - 1, 'g'
  end

  left = limit - taken - held
  for i = 1, #gone do
    redis.call('HDEL', key, gone[i])
  end
  if granted == '' then
    redis.call('HDEL', key, 'c:' .. id)
  else
    redis.call('HSET', key, 'c:' .. id, granted .. ' ' .. whole(position) .. ' ' .. whole(left))
  end
  redis.call('HSET', key, 'limit', whole(limit), 'taken', whole(taken), 'held', whole(held), 'soonest', whole(soonest))
  return 'granted', position, left
end

local told = { whole(sequence + 1) }
local at, next_claim = sequence, 1
for i = 1, count do
  local append = true
  if next_claim <= claims then
    local c = 4 + 6 * (next_claim - 1)
    if tonumber(ARGV[c + 1]) == i then
      next_claim = next_claim + 1
      local verdict, position, left = judge(
        KEYS[tonumber(ARGV[c + 2])], ARGV[c + 3], ARGV[c + 4], tonumber(ARGV[c + 5]), tonumber(ARGV[c + 6]), at + 1)
      told[#told + 1] = verdict .. ' ' .. whole(position) .. ' ' .. whole(left)
      append = verdict == 'granted'
    end
  end
  if append then
    at = at + 1
    redis.call('XADD', KEYS[1], whole(at) .. '-0', 'r', ARGV[before + i])
  end
end
redis.call('SET', KEYS[2], whole(at))
local text = table.concat(told, ' ')
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. text)
return answer(text)
