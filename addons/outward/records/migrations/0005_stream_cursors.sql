-- How far the destination of the audit stream has taken each chain; see `records.audit_stream`.
CREATE TABLE stream_cursors (
    chain TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL
);
