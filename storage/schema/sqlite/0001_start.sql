-- Names of users compare without regard to the case of ASCII letters; everything else compares byte by byte.
-- Times are Unix milliseconds. docs/explanation/data-model.md says why the tables are as they are.

CREATE TABLE messages (
    channel  TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    epoch    TEXT    NOT NULL,
    sender   TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    encoding INTEGER NOT NULL,
    body     BLOB    NOT NULL,
    PRIMARY KEY (channel, seq)
) STRICT;

CREATE INDEX messages_by_key ON messages (sender, key);

CREATE TABLE members (
    channel   TEXT    NOT NULL,
    user      TEXT    NOT NULL,
    role      TEXT    NOT NULL,
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (channel, user)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_by_user ON members (user);

CREATE TABLE users (
    user          TEXT    NOT NULL PRIMARY KEY COLLATE NOCASE,
    password_hash TEXT,
    created_at    INTEGER NOT NULL,
    is_guest      INTEGER NOT NULL,
    is_suspended  INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    device     TEXT    NOT NULL PRIMARY KEY,
    user       TEXT    NOT NULL,
    title      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    token_hash BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE INDEX devices_by_user ON devices (user);
CREATE INDEX devices_by_revocation ON devices (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE last_seen (
    user TEXT    NOT NULL PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
