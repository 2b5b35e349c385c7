-- What was allowed, by hour, group, host and port, where `records.keep` is `denials`: such traffic has no rows in `events`.
-- An empty text stands for an unknown group or host, port 0 for an unknown one.
CREATE TABLE passed_hours (
    hour_ms BIGINT NOT NULL,
    group_path TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    port INTEGER NOT NULL,
    count BIGINT NOT NULL,
    bytes_up BIGINT NOT NULL,
    bytes_down BIGINT NOT NULL,
    PRIMARY KEY (hour_ms, group_path, host, port)
);

-- Which of these sums were added, for a day, so that what is replayed is added once.
CREATE TABLE summed (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    time_ms BIGINT NOT NULL
);

CREATE INDEX summed_time ON summed (time_ms);
