-- Who does what only one process of a fleet does, and until when (Unix milliseconds of the database's clock). Rows rather
-- than locks of a session: behind a pooler in transaction mode no session is anybody's own.
CREATE TABLE leases (
    name BIGINT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until_ms BIGINT NOT NULL
);
