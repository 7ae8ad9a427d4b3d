-- How many posts each space holds: search asks it for every query, and counting would read every row. Kept by the
-- database itself, so that no statement anywhere can forget it.
LOCK TABLE post_vectors IN SHARE ROW EXCLUSIVE MODE;
CREATE TABLE spaces (
    space text PRIMARY KEY,
    posts bigint NOT NULL
);
INSERT INTO spaces (space, posts) SELECT space, count(*) FROM post_vectors GROUP BY space;
-- The next posts to embed anew, the newest first.
CREATE INDEX post_vectors_by_space ON post_vectors (space, post_pk);

CREATE FUNCTION count_spaces() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Rows are taken in one order by everyone: two statements that touch two spaces cannot wait for each other.
    IF TG_OP = 'INSERT' THEN
        INSERT INTO spaces AS s (space, posts)
        SELECT space, count(*) FROM added GROUP BY space ORDER BY space
        ON CONFLICT (space) DO UPDATE SET posts = s.posts + excluded.posts;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO spaces AS s (space, posts)
        SELECT space, -count(*) FROM removed GROUP BY space ORDER BY space
        ON CONFLICT (space) DO UPDATE SET posts = s.posts + excluded.posts;
    ELSE
        INSERT INTO spaces AS s (space, posts)
        SELECT space, sum(change) FROM (
            SELECT space, 1 AS change FROM added UNION ALL SELECT space, -1 FROM removed
        ) AS moved GROUP BY space HAVING sum(change) <> 0 ORDER BY space
        ON CONFLICT (space) DO UPDATE SET posts = s.posts + excluded.posts;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_added AFTER INSERT ON post_vectors
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_spaces();
CREATE TRIGGER count_removed AFTER DELETE ON post_vectors
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_spaces();
CREATE TRIGGER count_moved AFTER UPDATE ON post_vectors
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_spaces();
