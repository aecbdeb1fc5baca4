-- Return the clock and what the replicas told, as of one moment.
--
-- KEYS  1 replicas

return {redis.call('TIME'), redis.call('HGETALL', KEYS[1])}
