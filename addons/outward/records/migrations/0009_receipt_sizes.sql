-- What a receipt takes, so that receipts have a bound of their own: of groups, the largest gives up its oldest.
ALTER TABLE receipts ADD COLUMN size INTEGER NOT NULL DEFAULT 1000;
UPDATE receipts SET size = 200 + LENGTH(body);
CREATE INDEX receipts_quota ON receipts (group_path, id, size);
