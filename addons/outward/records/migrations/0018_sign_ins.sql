-- When a token was last used, and who made it. What `held` names is a sign-in at a provider of identities: who it is there,
-- and a JSON list of the roles that it has. Its own role and scope are those of the first.
ALTER TABLE admin_tokens ADD COLUMN last_used_ms BIGINT;

ALTER TABLE admin_tokens ADD COLUMN author TEXT;

ALTER TABLE admin_tokens ADD COLUMN issuer TEXT;

ALTER TABLE admin_tokens ADD COLUMN subject TEXT;

ALTER TABLE admin_tokens ADD COLUMN held TEXT;
