-- Removing everything of one author. Each statement can be repeated: what is gone already is not found again.

-- name: remember
-- From now on nothing of theirs is stored.
INSERT INTO forgotten_authors (key) VALUES (%(key)s) ON CONFLICT DO NOTHING

-- name: holdings
-- What there is of theirs: posts, hidden posts, and posts in the archive, withdrawn ones too.
SELECT (SELECT count(*) FROM posts WHERE author = %(author)s),
       (SELECT count(*) FROM hidden_posts WHERE author = %(author)s),
       (SELECT count(*) FROM archived_posts WHERE author_key = %(author_key)s)
           + (SELECT count(*) FROM archive_withdrawals WHERE author_key = %(author_key)s)

-- name: give_up_claims
-- Files that are being written and may hold their posts: the movers begin again without these.
WITH given AS (
    UPDATE archive_files SET state = 'discarded', since = clock_timestamp()
    WHERE state = 'claimed' AND id IN (
        SELECT c.file_id FROM archive_claims c JOIN posts p ON p.pk = c.post_pk WHERE p.author = %(author)s
    ) RETURNING id
)
DELETE FROM archive_claims c USING given g WHERE c.file_id = g.id

-- name: take_posts
-- Some of their posts leave, from the vector index too. Answers what they counted.
WITH gone AS (
    DELETE FROM posts WHERE pk IN (SELECT pk FROM posts WHERE author = %(author)s ORDER BY pk LIMIT %(limit)s)
    RETURNING pk, id, source, author, entities, event_time
), vectors AS (
    DELETE FROM post_vectors v USING gone g WHERE v.post_pk = g.pk
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'delete' FROM gone ORDER BY pk
)
SELECT source, id, author, entities, (extract(epoch FROM event_time) * 1000000)::bigint FROM gone

-- name: take_hidden_posts
DELETE FROM hidden_posts WHERE author = %(author)s

-- name: take_traces
-- Deletions of single posts are found by the author in their ids. Nothing of theirs comes back without them.
WITH ids AS (
    DELETE FROM tombstones WHERE starts_with(id, 'at://' || %(author)s || '/')
), ends AS (
    DELETE FROM author_tombstones WHERE author = %(author)s
), pending AS (
    DELETE FROM archive_takedowns WHERE author = %(author)s
), labels AS (
    DELETE FROM author_labels WHERE author = %(author)s
), cited AS (
    DELETE FROM insights WHERE EXISTS (
        SELECT 1 FROM unnest(post_ids) AS p (id) WHERE starts_with(p.id, 'at://' || %(author)s || '/')
    )
)
DELETE FROM account_states WHERE author = %(author)s

-- name: files
-- Files of the archive with rows of theirs, shown or withdrawn.
SELECT f.id, f.manifest::text, 0 FROM archive_files f
WHERE f.state = 'archived' AND f.id IN (
    SELECT file_id FROM archived_posts WHERE author_key = %(author_key)s
    UNION SELECT file_id FROM archive_withdrawals WHERE author_key = %(author_key)s
)
ORDER BY f.id

-- name: open_copy
-- The file that takes the place of another.
INSERT INTO archive_files (name, source, day, lease_until)
SELECT %(name)s, source, day, clock_timestamp() + %(lease_s)s::float8 * interval '1 second'
FROM archive_files WHERE id = %(file_id)s AND state = 'archived'
RETURNING id

-- name: lock_copy
SELECT state FROM archive_files WHERE id = %(copy_id)s FOR UPDATE

-- name: take_archived
-- Rows that are in the new file no more. Answers those that were still counted.
WITH given AS (
    SELECT key FROM unnest(%(key)b::bytea[]) AS t (key)
), shown AS (
    DELETE FROM archived_posts a USING given g WHERE a.key = g.key AND a.file_id = %(file_id)s RETURNING a.key
), withdrawn AS (
    DELETE FROM archive_withdrawals w USING given g WHERE w.key = g.key AND w.file_id = %(file_id)s
    RETURNING w.key, w.settled
)
SELECT key FROM shown UNION SELECT key FROM withdrawn WHERE NOT settled

-- name: move_to_copy
WITH posts AS (
    UPDATE archived_posts SET file_id = %(copy_id)s WHERE file_id = %(file_id)s
), withdrawn AS (
    UPDATE archive_withdrawals SET file_id = %(copy_id)s WHERE file_id = %(file_id)s
), pending AS (
    UPDATE archive_takedowns SET file_id = %(copy_id)s WHERE file_id = %(file_id)s
)
UPDATE archive_files SET state = 'archived', since = (SELECT since FROM archive_files WHERE id = %(file_id)s),
                         manifest = %(manifest)s::jsonb
WHERE id = %(copy_id)s

-- name: discard
UPDATE archive_files SET state = 'discarded', since = clock_timestamp() WHERE id = %(file_id)s AND state = 'archived'

-- name: waiting_vectors
-- Points that are to leave the vector index, up to the entry `until`, with the entries.
SELECT o.id, o.post_pk FROM outbox o
WHERE o.op = 'delete' AND o.id <= %(until)s AND NOT EXISTS (SELECT 1 FROM posts p WHERE p.pk = o.post_pk)
ORDER BY o.id LIMIT %(limit)s

-- name: newest_entry
SELECT COALESCE(max(id), 0) FROM outbox

-- name: finish_vectors
DELETE FROM outbox WHERE id = ANY(%(id)b::bigint[])
