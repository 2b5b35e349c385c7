-- Machines at vendors that groups made through the proxy, and the network (a JSON list of hosts) that each was given.
CREATE TABLE vendor_machines (
    group_path TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    ident TEXT COLLATE "C" NOT NULL,
    network TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (group_path, host, ident)
);

CREATE INDEX vendor_machines_time ON vendor_machines (time_ms);
