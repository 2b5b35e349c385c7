-- Audit events: rows that are chained by hash and signed one by one. Each writer has a chain of its own, named by the
-- public key that verifies it. `body` is the audit event as signed; the columns after it repeat parts of it for filters.
CREATE TABLE audit_events (
    chain TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL,
    body TEXT NOT NULL,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    time_ms BIGINT NOT NULL,
    event_type TEXT COLLATE "C" NOT NULL,
    group_path TEXT COLLATE "C",
    target TEXT COLLATE "C",
    PRIMARY KEY (chain, seq)
);

CREATE INDEX log_time ON audit_events (time_ms, id);
CREATE INDEX log_group ON audit_events (group_path, time_ms, id);
CREATE INDEX log_target ON audit_events (target, time_ms, id);

-- The last row of each chain, so that other machines notice a missing tail too. The writer keeps its own copy on disk.
CREATE TABLE chain_heads (
    chain TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL
);
