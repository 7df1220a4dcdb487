-- Take a shard over: KEYS[1] is its head, ARGV the new owner's token. Every later commit with another token is refused.
-- Returns sequence, body, token, id of the last commit, position in the journal.
redis.call('HSET', KEYS[1], 'token', ARGV[1])
return redis.call('HMGET', KEYS[1], 'sequence', 'body', 'token', 'commit', 'journal')
