-- What backends, operators and users who are away need: docs/explanation/data-model.md. Lists and maps are JSON texts.

ALTER TABLE messages ADD COLUMN revised_at INTEGER;

ALTER TABLE users ADD COLUMN roles TEXT NOT NULL DEFAULT '[]';

CREATE TABLE api_keys (
    key_id       TEXT    NOT NULL PRIMARY KEY,
    title        TEXT    NOT NULL,
    secret_hash  BLOB    NOT NULL,
    actions      TEXT    NOT NULL,
    namespaces   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE TABLE audit (
    audit_id INTEGER NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    details  TEXT    NOT NULL
) STRICT;

CREATE TABLE push_tokens (
    provider   TEXT    NOT NULL,
    token      TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    device     TEXT    NOT NULL,
    details    TEXT    NOT NULL,
    locale     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (provider, token)
) STRICT;

CREATE INDEX push_tokens_by_user ON push_tokens (user);

-- "values" is a word of SQL.
CREATE TABLE preferences (
    user    TEXT NOT NULL,
    channel TEXT NOT NULL,
    choices TEXT NOT NULL,
    PRIMARY KEY (user, channel)
) STRICT, WITHOUT ROWID;

CREATE TABLE read_marks (
    user    TEXT    NOT NULL,
    channel TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (user, channel)
) STRICT, WITHOUT ROWID;

CREATE TABLE data_keys (
    data_key   TEXT    NOT NULL PRIMARY KEY,
    master     TEXT    NOT NULL,
    wrapped    BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
