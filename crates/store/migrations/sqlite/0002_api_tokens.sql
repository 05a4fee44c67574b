-- What API tokens and their neighbours need. The rules of 0001 hold. Keep in step with ../postgres.
-- A column that comes later and is never NULL must have a default here; every insert names all columns nevertheless.

ALTER TABLE installation ADD COLUMN signing_key_id TEXT NOT NULL DEFAULT '1';

ALTER TABLE account ADD COLUMN organisation_name TEXT;
ALTER TABLE account ADD COLUMN purpose TEXT NOT NULL DEFAULT 'business';
ALTER TABLE account ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
UPDATE account SET updated_at = created_at;

-- The partition of a PFID is its characters 11 to 16.
CREATE INDEX account_partition ON account (substr(pfid, 11, 6));

ALTER TABLE environment ADD COLUMN description TEXT;
ALTER TABLE environment ADD COLUMN external_identifier TEXT;
ALTER TABLE environment ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
UPDATE environment SET updated_at = created_at;

ALTER TABLE app_user ADD COLUMN name TEXT;
ALTER TABLE app_user ADD COLUMN job_title TEXT;
ALTER TABLE app_user ADD COLUMN profile_completed_at BIGINT;
ALTER TABLE app_user ADD COLUMN last_active_at BIGINT;
ALTER TABLE app_user ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
UPDATE app_user SET updated_at = created_at;

-- None of the following has a revision: no decision depends on them, and the feed doesn't show them.

CREATE TABLE agent (
    id          TEXT   NOT NULL PRIMARY KEY,
    account_id  TEXT   NOT NULL REFERENCES account (id),
    name        TEXT   NOT NULL,
    inserted_at BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    deleted_at  BIGINT
) WITHOUT ROWID;

CREATE INDEX agent_account ON agent (account_id, id) WHERE deleted_at IS NULL;
CREATE INDEX agent_deleted ON agent (deleted_at) WHERE deleted_at IS NOT NULL;

-- An agent is deployed in an environment at most once at a time.
CREATE TABLE agent_deployment (
    id             TEXT   NOT NULL PRIMARY KEY,
    account_id     TEXT   NOT NULL REFERENCES account (id),
    agent_id       TEXT   NOT NULL REFERENCES agent (id),
    environment_id TEXT   NOT NULL REFERENCES environment (id),
    inserted_at    BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    deleted_at     BIGINT
) WITHOUT ROWID;

CREATE UNIQUE INDEX agent_deployment_pair ON agent_deployment (agent_id, environment_id) WHERE deleted_at IS NULL;
CREATE INDEX agent_deployment_account ON agent_deployment (account_id, id) WHERE deleted_at IS NULL;
CREATE INDEX agent_deployment_agent ON agent_deployment (agent_id);
CREATE INDEX agent_deployment_environment ON agent_deployment (environment_id);
CREATE INDEX agent_deployment_deleted ON agent_deployment (deleted_at) WHERE deleted_at IS NOT NULL;

-- `ended_at` is when the agent or the deployment that the token belongs to was deleted. Such a token is refused for
-- good, and shown like others.
ALTER TABLE api_token ADD COLUMN agent_id TEXT;
ALTER TABLE api_token ADD COLUMN agent_deployment_id TEXT;
ALTER TABLE api_token ADD COLUMN ended_at BIGINT;

CREATE INDEX api_token_environment ON api_token (environment_id) WHERE environment_id IS NOT NULL;
CREATE INDEX api_token_agent_deployment ON api_token (agent_deployment_id) WHERE agent_deployment_id IS NOT NULL;

CREATE TABLE admin_user_invite (
    id          TEXT   NOT NULL PRIMARY KEY,
    account_id  TEXT   NOT NULL REFERENCES account (id),
    email       TEXT   NOT NULL,
    status      TEXT   NOT NULL,
    inserted_at BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX admin_user_invite_account ON admin_user_invite (account_id, id);

-- What was answered under an idempotency key, for a day. It holds no secret.
CREATE TABLE idempotent_answer (
    account_id  TEXT   NOT NULL,
    key         TEXT   NOT NULL,
    fingerprint BLOB   NOT NULL,
    subject     TEXT   NOT NULL,
    answer      TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (account_id, key)
) WITHOUT ROWID;

CREATE INDEX idempotent_answer_created ON idempotent_answer (created_at);
