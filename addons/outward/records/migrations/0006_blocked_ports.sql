-- The blocked log de-duplicated by port too: `blocked_totals` kept one port of those that were asked for. It stays for an
-- older program beside this one, or after a rollback. Port 0 stands for an unknown one.
CREATE TABLE blocked_sums (
    group_path TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    port INTEGER NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    last_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (group_path, host, port, reason)
);

INSERT INTO blocked_sums (group_path, host, port, reason, count, first_ms, last_ms, last_id)
    SELECT group_path, host, COALESCE(port, 0), reason, count, first_ms, last_ms, last_id FROM blocked_totals;

CREATE INDEX sums_last ON blocked_sums (last_ms);
CREATE INDEX sums_host ON blocked_sums (host);
