-- What administrators set at run time. Every change takes the next version, so that proxies which share the database
-- read only what is new. Times are Unix milliseconds.
CREATE TABLE state_version (
    only_row INTEGER NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);

INSERT INTO state_version (only_row, version) VALUES (1, 0);

CREATE TABLE web_search_toggles (
    group_path TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    enabled BOOLEAN NOT NULL,
    actor TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    version BIGINT NOT NULL
);

-- An opt-in that is withdrawn stays as a row, so that the withdrawal is read too.
CREATE TABLE opt_ins (
    conversation TEXT COLLATE "C" NOT NULL,
    group_path TEXT COLLATE "C" NOT NULL,
    active BOOLEAN NOT NULL,
    credential TEXT,
    actor TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (conversation, group_path)
);

CREATE INDEX opt_ins_version ON opt_ins (version);

-- Secrets are kept as SHA-256 only.
CREATE TABLE admin_tokens (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    revoked BOOLEAN NOT NULL,
    version BIGINT NOT NULL
);
