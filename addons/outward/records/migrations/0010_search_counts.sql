-- How many searches a group itself made on a UTC day, by vendor: those made, and those reserved for requests under way.
-- What a group and all below it made is the sum over its subtree.
CREATE TABLE search_counts (
    group_path TEXT COLLATE "C" NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    vendor TEXT COLLATE "C" NOT NULL,
    searches BIGINT NOT NULL,
    PRIMARY KEY (day, group_path, vendor)
);
