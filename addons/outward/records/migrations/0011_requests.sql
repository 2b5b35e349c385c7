-- What clients asked to be allowed, and what was granted. An empty text stands for no method or path: the whole host.
-- Times are Unix milliseconds. `asker` bounds how much one client may ask; `whys` is a JSON list of its own words.
CREATE TABLE access_requests (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    group_path TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    port INTEGER NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    clear BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    count BIGINT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    client TEXT NOT NULL,
    asker TEXT COLLATE "C" NOT NULL,
    whys TEXT NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT,
    decided_ms BIGINT,
    note TEXT,
    until_ms BIGINT,
    grant_id TEXT
);

CREATE INDEX requests_key ON access_requests (group_path, host, port);
CREATE INDEX requests_time ON access_requests (last_ms, id);

-- A grant that is revoked, or whose end was told, stays as a row, so that other proxies read it.
CREATE TABLE grants (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    group_path TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    port INTEGER NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    made_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    who TEXT NOT NULL,
    note TEXT NOT NULL,
    ended BOOLEAN NOT NULL,
    version BIGINT NOT NULL
);

CREATE INDEX grants_version ON grants (version);
CREATE INDEX grants_until ON grants (until_ms);
