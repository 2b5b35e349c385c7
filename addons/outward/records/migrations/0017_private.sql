-- What of an audit event is a person's: `body` holds its SHA-256 (`private_sha256`), so that it can be erased and the chain
-- still be verified. A random salt is part of the text. Rows from before have all in `body`.
ALTER TABLE audit_events ADD COLUMN private TEXT;

CREATE INDEX log_type ON audit_events (event_type, time_ms, id);
