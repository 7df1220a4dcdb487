-- Take a shard over: KEYS[1] is its head, ARGV the new owner's token and the least epoch that it wants.
-- Every later commit with another token is refused. Returns sequence, body, id of the last commit, position in the journal, epoch.
local last = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
if not last then
  return redis.error_reply('WRONGTYPE the epoch of a head is no number')
end
local epoch = math.max(last + 1, tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'epoch', tostring(epoch))
local head = redis.call('HMGET', KEYS[1], 'sequence', 'body', 'commit', 'journal')
head[5] = tostring(epoch)
return head
