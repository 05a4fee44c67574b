-- What a change of the installation key needs. The rules of 0001 and 0002 hold. Keep in step with ../sqlite.

-- The keys that the installation has had, and the one that comes next. Which of them are live, the row of `revision`
-- says. `first_audit_seq` is the first audit event under the key; `audit_key` is the audit key of one that is not live
-- any more, closed under one that is. (`key_check` of `installation` stays that of the first key, and nobody reads it.)
CREATE TABLE installation_key (
    id              BIGINT NOT NULL PRIMARY KEY,
    check_value     BYTEA NOT NULL,
    prepared_at     BIGINT NOT NULL,
    current_at      BIGINT,
    retired_at      BIGINT,
    first_audit_seq BIGINT,
    audit_key       BYTEA
);

INSERT INTO installation_key (id, check_value, prepared_at, current_at, first_audit_seq)
    SELECT 1, key_check, created_at, created_at, 1 FROM installation;

-- The ids of the keys: of the one before, while rows may stand under it; of the current one; of the next one, while it
-- is handed out. 0 is none.
ALTER TABLE revision ADD COLUMN key_before BIGINT NOT NULL DEFAULT 0;
ALTER TABLE revision ADD COLUMN key_current BIGINT NOT NULL DEFAULT 1;
ALTER TABLE revision ADD COLUMN key_next BIGINT NOT NULL DEFAULT 0;

-- Which key each digest was made with. `replaced_digest` is the one under the key before, by which indexes know it.
ALTER TABLE service_token ADD COLUMN digest_key BIGINT NOT NULL DEFAULT 1;
ALTER TABLE service_token ADD COLUMN previous_digest_key BIGINT NOT NULL DEFAULT 1;
ALTER TABLE api_token ADD COLUMN digest_key BIGINT NOT NULL DEFAULT 1;
ALTER TABLE api_token ADD COLUMN replaced_digest BYTEA;
ALTER TABLE management_token ADD COLUMN digest_key BIGINT NOT NULL DEFAULT 1;
ALTER TABLE management_token ADD COLUMN replaced_digest BYTEA;
ALTER TABLE app_user ADD COLUMN digest_key BIGINT NOT NULL DEFAULT 1;

CREATE INDEX api_token_replaced ON api_token (id) WHERE replaced_digest IS NOT NULL;
CREATE INDEX management_token_replaced ON management_token (id) WHERE replaced_digest IS NOT NULL;

-- The newest key that the server holds.
ALTER TABLE node ADD COLUMN installation_key BIGINT NOT NULL DEFAULT 1;
