-- What a token may do: see, or change too. A token from before could change everything in its scope.
ALTER TABLE admin_tokens ADD COLUMN role TEXT NOT NULL DEFAULT 'admin';
