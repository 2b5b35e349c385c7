-- What passed, de-duplicated as `blocked_sums` is: `reason` is why report mode would have denied it, or `rule` where the
-- policy allowed it.
CREATE TABLE passed_sums (
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

INSERT INTO passed_sums (group_path, host, port, reason, count, first_ms, last_ms, last_id)
    SELECT COALESCE(group_path, ''), COALESCE(host, ''), COALESCE(port, 0),
        CASE WHEN would_deny THEN COALESCE(would_reason, reason) ELSE 'rule' END,
        SUM(count), MIN(time_ms), MAX(COALESCE(last_ms, time_ms)), MAX(id)
    FROM events WHERE verdict = 'allow' GROUP BY 1, 2, 3, 4;

CREATE INDEX passed_last ON passed_sums (last_ms);

-- Attempts by hour, for the chart: `outcome` is deny, would_deny or allow.
CREATE TABLE attempt_hours (
    hour_ms BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    group_path TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (outcome, hour_ms, group_path)
);

INSERT INTO attempt_hours (hour_ms, outcome, group_path, count)
    SELECT time_ms / 3600000 * 3600000, CASE WHEN would_deny THEN 'would_deny' ELSE verdict END,
        COALESCE(group_path, ''), SUM(count)
    FROM events GROUP BY 1, 2, 3;

-- What report mode let through, by client.
CREATE INDEX would_deny_client ON events (client, time_ms, id) WHERE would_deny;
