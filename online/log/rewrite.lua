-- Copies a stretch of a log into another stream, some of its records replaced, every one at its own position.
--
-- KEYS  1 log   2 copy   3 sequence
-- ARGV  1 last position copied so far   2 how many to copy   3 positions that are to be finished (0 or 1)
--       4... pairs of position and the record that takes its place
-- Reply: the last position copied; with 3 = 1 and nothing left, the copy has taken the log's place.

local after = tonumber(ARGV[1])
local replaced = {}
for i = 4, #ARGV, 2 do
  replaced[ARGV[i] .. '-0'] = ARGV[i + 1]
end
local entries = redis.call('XRANGE', KEYS[1], string.format('%.0f-0', after + 1), '+', 'COUNT', ARGV[2])
for i = 1, #entries do
  local id = entries[i][1]
  redis.call('XADD', KEYS[2], id, 'r', replaced[id] or entries[i][2][2])
  after = tonumber(string.match(id, '^(%d+)-'))
end
if ARGV[3] == '1' and after == tonumber(redis.call('GET', KEYS[3])) then
  redis.call('RENAME', KEYS[2], KEYS[1])
end
return after
