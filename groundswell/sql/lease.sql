-- The right to read a source: an advisory lock of a session. Both statements name it by the same two keys.

-- name: try_lock
-- The server's own process number: a pooler in between would tell another one.
SELECT pg_try_advisory_lock(%(family)s, hashtext(%(source)s)), pg_backend_pid()

-- name: session_holds
-- Whether that session has the lock at this moment: pg_locks shows what is, whatever snapshot a transaction has.
SELECT 1 FROM pg_locks
WHERE locktype = 'advisory' AND granted AND pid = %(session)s AND objsubid = 2
  AND classid = %(family)s::oid AND objid = (hashtext(%(source)s)::bigint & 4294967295)::oid
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
