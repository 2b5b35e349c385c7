-- Who asked, which proxy decided, and what redirected the client there. Columns without a default: no row is rewritten.
-- `claims` is a JSON object. What looks for them by client or subject makes its own index where the table is made anew.
ALTER TABLE events ADD COLUMN instance TEXT;
ALTER TABLE events ADD COLUMN client_name TEXT;
ALTER TABLE events ADD COLUMN subject TEXT;
ALTER TABLE events ADD COLUMN claims TEXT;
ALTER TABLE events ADD COLUMN redirected_from TEXT;
