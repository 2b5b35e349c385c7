-- Repeats of a denial are counted in the row of the first: `count` attempts, the last one at `last_ms` (none where it was
-- asked once). `would_reason` is why report mode would have denied, `detail` what was not reached, in words. `size` is what the row takes, as `event_sizes` adds it
-- up by group (an empty text stands for strangers), so that the store is pruned by a measure that pruning changes.
ALTER TABLE events ADD COLUMN count BIGINT NOT NULL DEFAULT 1;
ALTER TABLE events ADD COLUMN last_ms BIGINT;
ALTER TABLE events ADD COLUMN would_reason TEXT;
ALTER TABLE events ADD COLUMN detail TEXT;
ALTER TABLE events ADD COLUMN size INTEGER NOT NULL DEFAULT 600;

-- The oldest events of one group, or of strangers.
CREATE INDEX events_quota ON events (group_path, id);

CREATE TABLE event_sizes (
    group_path TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL
);

INSERT INTO event_sizes (group_path, bytes)
    SELECT COALESCE(group_path, ''), 600 * COUNT(*) FROM events GROUP BY COALESCE(group_path, '');
