-- Counts that were changed after their minute was over: by late posts, edits and deletes. The momentum tick keeps the
-- last hours in memory, and learns from here what to read again.
CREATE TABLE late_counts (
    entity      text NOT NULL,
    minute      timestamptz NOT NULL,
    source      text NOT NULL,
    -- Who read while this had not ended yet comes back for it.
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    noted_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX late_counts_by_transaction ON late_counts (transaction);
CREATE INDEX late_counts_by_time ON late_counts USING brin (noted_at);

-- What is expected of entities without a history, by kind.
ALTER TABLE watched ADD COLUMN kinds jsonb NOT NULL DEFAULT '{}';
