-- Events: one row for each question that ended. `time_ms` is Unix time in milliseconds.
CREATE TABLE events (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    time_ms BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    stage TEXT NOT NULL,
    mode TEXT NOT NULL,
    would_deny BOOLEAN NOT NULL,
    group_path TEXT COLLATE "C",
    client TEXT COLLATE "C",
    method TEXT,
    scheme TEXT,
    host TEXT COLLATE "C",
    port INTEGER,
    path TEXT,
    sni TEXT,
    ech BOOLEAN,
    address TEXT,
    lane TEXT,
    rule_file TEXT,
    rule_line INTEGER,
    rule_pattern TEXT,
    generation TEXT,
    conversation TEXT COLLATE "C",
    user_agent TEXT,
    duration_ms DOUBLE PRECISION,
    bytes_up BIGINT,
    bytes_down BIGINT,
    status INTEGER,
    trace_id TEXT
);

-- The blocked log, newest first, whole and by each filter. Denials are the few; what was allowed costs no index.
CREATE INDEX blocked_time ON events (time_ms, id) WHERE verdict = 'deny';
CREATE INDEX blocked_client ON events (client, time_ms, id) WHERE verdict = 'deny';
CREATE INDEX blocked_reason ON events (reason, time_ms, id) WHERE verdict = 'deny';
CREATE INDEX blocked_host ON events (host, time_ms, id) WHERE verdict = 'deny';
CREATE INDEX blocked_group ON events (group_path, time_ms, id) WHERE verdict = 'deny';

-- What report mode let through.
CREATE INDEX would_deny_time ON events (time_ms, id) WHERE would_deny;

-- A conversation's own traffic.
CREATE INDEX conversation_time ON events (conversation, time_ms, id) WHERE conversation IS NOT NULL;

-- The blocked log de-duplicated, so that the first look costs the same with a thousand denials or ten million. An empty
-- text stands for an unknown group or host.
CREATE TABLE blocked_totals (
    group_path TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    port INTEGER,
    count BIGINT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    last_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (group_path, host, reason)
);

CREATE INDEX totals_last ON blocked_totals (last_ms);
CREATE INDEX totals_host ON blocked_totals (host);
