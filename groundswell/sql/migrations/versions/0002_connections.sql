-- Clients whose sockets are held by API Gateway: the API's functions write this, the relay sends by it.
CREATE TABLE ws_connections (
    connection_id text PRIMARY KEY,
    topics        text[] NOT NULL DEFAULT '{}',
    paused_at     bigint,                     -- the seq up to which everything had been sent when it paused
    greeted_at    bigint,                     -- the newest seq when it was greeted; null before its first frame
    connected_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    heard_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ws_connections_by_age ON ws_connections (connected_at);

-- Whoever sends hears of every change, wherever it was made.
CREATE FUNCTION tell_of_ws_connection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ws_connections', coalesce(NEW.connection_id, OLD.connection_id));
    RETURN NULL;
END
$$;
CREATE TRIGGER ws_connections_changed AFTER INSERT OR UPDATE OR DELETE ON ws_connections
    FOR EACH ROW EXECUTE FUNCTION tell_of_ws_connection();

-- Messages that API Gateway has billed, by month (UTC).
CREATE TABLE message_spend (
    month    date PRIMARY KEY,
    messages bigint NOT NULL
);
