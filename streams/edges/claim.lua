-- Take a shard over: KEYS[1] is its head, ARGV the new owner's token and the least epoch that it wants.
-- Every later commit with another token is refused. Returns sequence, body, id of the last commit, position in the journal, epoch.
local epoch = math.max(tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') + 1, tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'epoch', tostring(epoch))
local head = redis.call('HMGET', KEYS[1], 'sequence', 'body', 'commit', 'journal')
head[5] = tostring(epoch)
return head
