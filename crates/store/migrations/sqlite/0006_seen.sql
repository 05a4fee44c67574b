-- When tokens were last used, in tables of their own: where all tokens are in use, all marks are written every few
-- seconds, and a page has room for eighty of them, but for ten tokens. The rules of 0001 and 0002 hold. Keep in step with
-- ../postgres.

CREATE TABLE service_token_seen (
    service_token_id TEXT   NOT NULL PRIMARY KEY,
    last_seen_at     BIGINT NOT NULL
) WITHOUT ROWID;

INSERT INTO service_token_seen (service_token_id, last_seen_at)
SELECT id, last_seen_at FROM service_token WHERE last_seen_at IS NOT NULL ORDER BY id;

ALTER TABLE service_token DROP COLUMN last_seen_at;

CREATE TABLE api_token_seen (
    api_token_id TEXT   NOT NULL PRIMARY KEY,
    last_used_at BIGINT NOT NULL
) WITHOUT ROWID;

INSERT INTO api_token_seen (api_token_id, last_used_at)
SELECT id, last_used_at FROM api_token WHERE last_used_at IS NOT NULL ORDER BY id;

ALTER TABLE api_token DROP COLUMN last_used_at;
