-- Work that is due at a time: docs/explanation/data-model.md.
-- state: 0 waiting, 1 claimed, 2 behind another job of its lane, 3 dead. ready_at: when it can be claimed (again).
-- Ids are never used twice, or a claimer who is late could finish another job.

CREATE TABLE jobs (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    queue      TEXT    NOT NULL,
    lane       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    state      INTEGER NOT NULL,
    ready_at   INTEGER NOT NULL,
    due        INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    error      TEXT    NOT NULL,
    body       BLOB    NOT NULL
) STRICT;

CREATE INDEX jobs_by_time ON jobs (queue, ready_at, id) WHERE state < 2;
CREATE INDEX jobs_by_lane ON jobs (queue, lane, state, id) WHERE lane <> '';
CREATE INDEX jobs_dead ON jobs (queue, id) WHERE state = 3;
CREATE UNIQUE INDEX jobs_by_key ON jobs (queue, key) WHERE key <> '';

-- How many jobs of each state there are, so that neither the bound nor /metrics has to count them.
CREATE TABLE job_counts (
    queue TEXT    NOT NULL,
    state INTEGER NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_added AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts (queue, state, jobs) VALUES (new.queue, new.state, 1)
        ON CONFLICT (queue, state) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_removed AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET jobs = jobs - 1 WHERE queue = old.queue AND state = old.state;
END;

CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
    UPDATE job_counts SET jobs = jobs - 1 WHERE queue = old.queue AND state = old.state;
    INSERT INTO job_counts (queue, state, jobs) VALUES (new.queue, new.state, 1)
        ON CONFLICT (queue, state) DO UPDATE SET jobs = jobs + 1;
END;
