-- Receipts of searches, one row for each request that searched; readers merge those of a conversation.
CREATE TABLE receipts (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    time_ms BIGINT NOT NULL,
    conversation TEXT COLLATE "C" NOT NULL,
    group_path TEXT COLLATE "C" NOT NULL,
    searches INTEGER NOT NULL,
    body TEXT NOT NULL
);

CREATE INDEX receipts_conversation ON receipts (conversation, group_path, time_ms, id);
CREATE INDEX receipts_time ON receipts (time_ms);
