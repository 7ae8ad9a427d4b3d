-- Which space each post is embedded in, and moving posts from one to another.

-- name: posts_by_space
SELECT space, posts FROM spaces WHERE posts > 0

-- name: queue_again
-- The newest posts of a space below a key, put into the outbox as if they had just been stored.
WITH chosen AS (
    SELECT post_pk FROM post_vectors WHERE space = %(space)s AND post_pk < %(before)s
    ORDER BY post_pk DESC LIMIT %(limit)s
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT post_pk, 'upsert' FROM chosen ORDER BY post_pk DESC
)
SELECT count(*), min(post_pk) FROM chosen

-- name: forget
DELETE FROM spaces WHERE space = %(space)s AND posts <= 0
