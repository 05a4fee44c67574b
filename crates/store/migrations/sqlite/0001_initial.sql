-- Column types are TEXT, BIGINT and BLOB only: the driver that serves both databases knows no others.
-- Times are microseconds since the Unix epoch, flags are 0 or 1, ids are text. Keep in step with ../postgres.

-- One row: what the installation is. `key_check` tells a foreign installation key from the right one.
CREATE TABLE installation (
    one           BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    id            TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    key_check     BLOB   NOT NULL,
    max_staleness BIGINT NOT NULL
) WITHOUT ROWID;

-- One row: the counter that orders all writes, the last revision of each group of tables, the head of the audit
-- chain, and the horizon of the sweep (a reader that stands before it has missed a deletion).
CREATE TABLE revision (
    one                    BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    value                  BIGINT NOT NULL,
    directory_revision     BIGINT NOT NULL,
    service_token_revision BIGINT NOT NULL,
    api_token_revision     BIGINT NOT NULL,
    audit_seq              BIGINT NOT NULL,
    audit_mac              BLOB   NOT NULL,
    horizon                BIGINT NOT NULL
) WITHOUT ROWID;

INSERT INTO revision VALUES (1, 0, 0, 0, 0, 0, X'', 0);

CREATE TABLE account (
    id         TEXT   NOT NULL PRIMARY KEY,
    pfid       TEXT   NOT NULL UNIQUE,
    name       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX account_order ON account (created_at, id);
CREATE INDEX account_revision ON account (revision);

CREATE TABLE zone (
    id         TEXT   NOT NULL PRIMARY KEY,
    account_id TEXT   NOT NULL REFERENCES account (id),
    name       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX zone_order ON zone (created_at, id);
CREATE INDEX zone_account ON zone (account_id, created_at, id);
CREATE INDEX zone_revision ON zone (revision);

CREATE TABLE environment (
    id         TEXT   NOT NULL PRIMARY KEY,
    account_id TEXT   NOT NULL REFERENCES account (id),
    name       TEXT   NOT NULL,
    purpose    TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT,
    revision   BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX environment_account ON environment (account_id, id) WHERE deleted_at IS NULL;
CREATE INDEX environment_deleted ON environment (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX environment_revision ON environment (revision);

CREATE TABLE app_user (
    id                 TEXT   NOT NULL PRIMARY KEY,
    pfid               TEXT   NOT NULL UNIQUE,
    email              TEXT   NOT NULL,
    email_folded       TEXT   NOT NULL UNIQUE,
    key_digest         BLOB   NOT NULL,
    installation_owner BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    revision           BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX app_user_order ON app_user (created_at, id);
CREATE INDEX app_user_revision ON app_user (revision);

-- A change here takes the user's row along: that is the one that the feed reads.
CREATE TABLE membership (
    user_id    TEXT   NOT NULL REFERENCES app_user (id),
    account_id TEXT   NOT NULL REFERENCES account (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, account_id)
) WITHOUT ROWID;

CREATE INDEX membership_account ON membership (account_id, user_id);

CREATE TABLE management_token (
    id           TEXT   NOT NULL PRIMARY KEY,
    user_id      TEXT   REFERENCES app_user (id),
    account_id   TEXT   REFERENCES account (id),
    name         TEXT   NOT NULL,
    digest       BLOB   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT,
    revision     BIGINT NOT NULL,
    CHECK ((user_id IS NULL) <> (account_id IS NULL))
) WITHOUT ROWID;

CREATE INDEX management_token_order ON management_token (created_at, id);
CREATE INDEX management_token_user ON management_token (user_id, created_at, id);
CREATE INDEX management_token_account ON management_token (account_id, created_at, id);
CREATE INDEX management_token_revision ON management_token (revision);

-- A change here takes the token's row along, as with memberships.
CREATE TABLE management_grant (
    management_token_id TEXT NOT NULL REFERENCES management_token (id),
    account_id          TEXT NOT NULL REFERENCES account (id),
    permission          TEXT NOT NULL,
    PRIMARY KEY (management_token_id, account_id, permission)
) WITHOUT ROWID;

-- Ids are ordered by time, so that rows are appended to the one tree that holds them. `zone_id` is '' for a token of
-- the account itself. A deleted token stays as a tombstone without digests until it is swept. Neither client ids (128
-- random bits) nor accounts (which are never deleted) are checked here: each check would cost every create a look-up.
CREATE TABLE service_token (
    id                  TEXT   NOT NULL PRIMARY KEY,
    account_id          TEXT   NOT NULL,
    zone_id             TEXT   NOT NULL,
    client_id           TEXT   NOT NULL,
    name                TEXT   NOT NULL,
    name_folded         TEXT   NOT NULL,
    duration            TEXT   NOT NULL,
    enabled             BIGINT NOT NULL,
    secret_version      BIGINT NOT NULL,
    digest              BLOB,
    previous_digest     BLOB,
    previous_expires_at BIGINT,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL,
    expires_at          BIGINT NOT NULL,
    last_seen_at        BIGINT,
    deleted_at          BIGINT,
    revision            BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX service_token_owner ON service_token (account_id, zone_id, id) WHERE deleted_at IS NULL;
CREATE INDEX service_token_deleted ON service_token (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX service_token_revision ON service_token (revision);

-- How many service tokens live in each account (zone_id '') and zone: a list says its total without counting.
CREATE TABLE service_token_count (
    account_id TEXT   NOT NULL,
    zone_id    TEXT   NOT NULL,
    live       BIGINT NOT NULL,
    PRIMARY KEY (account_id, zone_id)
) WITHOUT ROWID;

CREATE TABLE api_token (
    id             TEXT   NOT NULL PRIMARY KEY,
    account_id     TEXT   NOT NULL,
    scope          TEXT   NOT NULL,
    environment_id TEXT,
    status         TEXT   NOT NULL,
    digest         BLOB   NOT NULL,
    key_id         TEXT   NOT NULL,
    issued_at      BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    created_by     TEXT,
    last_used_at   BIGINT,
    inserted_at    BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    deleted_at     BIGINT,
    revision       BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX api_token_account ON api_token (account_id, id) WHERE deleted_at IS NULL;
CREATE INDEX api_token_deleted ON api_token (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX api_token_revision ON api_token (revision);

-- Each row's `mac` covers the row and the mac before it.
CREATE TABLE audit_event (
    seq          BIGINT NOT NULL PRIMARY KEY,
    at           BIGINT NOT NULL,
    actor_kind   TEXT   NOT NULL,
    actor_id     TEXT   NOT NULL,
    action       TEXT   NOT NULL,
    subject_kind TEXT   NOT NULL,
    subject_id   TEXT   NOT NULL,
    account_id   TEXT,
    address      TEXT,
    request_id   TEXT,
    detail       TEXT   NOT NULL,
    mac          BLOB   NOT NULL
) WITHOUT ROWID;

CREATE INDEX audit_event_account ON audit_event (account_id, seq) WHERE account_id IS NOT NULL;
CREATE INDEX audit_event_subject ON audit_event (subject_id, seq);

-- The servers that follow the feed of this store. `heartbeat` counts, so that no two clocks are ever compared.
CREATE TABLE node (
    id           TEXT   NOT NULL PRIMARY KEY,
    started_at   BIGINT NOT NULL,
    heartbeat    BIGINT NOT NULL,
    applied      BIGINT NOT NULL,
    serves_stale BIGINT NOT NULL
) WITHOUT ROWID;
