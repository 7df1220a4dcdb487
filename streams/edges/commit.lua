-- The atomic commit of one shard: everything or nothing. All keys share the shard's hash tag.
-- KEYS[1] head (hash: token, sequence, commit, body, progress, journal), KEYS[2] outbox (hash), KEYS[3] join segments (set),
-- KEYS[4..] whatever the operations name by index.
-- ARGV: token, sequence, commit id, body, progress, position in the journal, then operations, each a letter and its arguments:
--   P key-index index-key-index start data   put a cell and list it      D key-index index-key-index start   drop a cell
--   A key-index segment data                 append to a segment         C key-index segment                 cut a segment
--   O field data                             add to the outbox           K field                             acknowledge
-- Returns "lost" (the token is another's), "conflict" (the sequence is not ours), or "done".
local head = redis.call('HMGET', KEYS[1], 'token', 'sequence', 'commit')
if head[1] ~= ARGV[1] then return 'lost' end
if head[3] == ARGV[3] then return 'done' end
if (head[2] or '0') ~= ARGV[2] then return 'conflict' end
-- A script that fails midway keeps what it has written, so everything that can fail is looked at before the first write.
local step = {P = 5, D = 4, A = 4, C = 3, O = 3, K = 2}
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
  end
end
local i = 7
local wrong = expect(KEYS[2], 'hash') or expect(KEYS[3], 'set')
while i <= #ARGV and not wrong do
  local op = ARGV[i]
  if op == 'P' or op == 'D' then
    wrong = expect(KEYS[tonumber(ARGV[i + 1])], 'string') or expect(KEYS[tonumber(ARGV[i + 2])], 'zset')
  elseif op == 'A' then
    local key = KEYS[tonumber(ARGV[i + 1])]
    wrong = expect(key, 'string')
    if not wrong and redis.call('STRLEN', key) + #ARGV[i + 3] > 536870912 then
      wrong = redis.error_reply('FULL ' .. key .. ' would be longer than 512 MB: shorten labels.horizon, or use more partitions')
    end
  end
  i = i + step[op]
end
if wrong then return wrong end
redis.call('HSET', KEYS[1], 'sequence', tostring(tonumber(ARGV[2]) + 1), 'commit', ARGV[3], 'body', ARGV[4], 'progress', ARGV[5],
  'journal', ARGV[6])
i = 7
while i <= #ARGV do
  local op = ARGV[i]
  if op == 'P' then
    redis.call('SET', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 4])
    redis.call('ZADD', KEYS[tonumber(ARGV[i + 2])], ARGV[i + 3], ARGV[i + 3])
    i = i + 5
  elseif op == 'D' then
    redis.call('DEL', KEYS[tonumber(ARGV[i + 1])])
    redis.call('ZREM', KEYS[tonumber(ARGV[i + 2])], ARGV[i + 3])
    i = i + 4
  elseif op == 'A' then
    redis.call('APPEND', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 3])
    redis.call('SADD', KEYS[3], ARGV[i + 2])
    i = i + 4
  elseif op == 'C' then
    redis.call('DEL', KEYS[tonumber(ARGV[i + 1])])
    redis.call('SREM', KEYS[3], ARGV[i + 2])
    i = i + 3
  elseif op == 'O' then
    redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 2])
    i = i + 3
  else
    redis.call('HDEL', KEYS[2], ARGV[i + 1])
    i = i + 2
  end
end
return 'done'
