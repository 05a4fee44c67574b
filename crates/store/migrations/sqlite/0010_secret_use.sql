-- When each secret of a service token was last used, and by whom: a row for each secret, told apart by its number, so that
-- what is written late is never taken for a use of another one. Number 0 has what was seen before secrets were told apart.
-- A row of visited_at, address and user_agent tells of one use; the last of all may be later. The rules of 0001 and
-- 0002 hold. Keep in step with ../postgres.

ALTER TABLE service_token ADD COLUMN previous_version BIGINT;
ALTER TABLE service_token ADD COLUMN rotated_at BIGINT;

UPDATE service_token SET previous_version = secret_version - 1 WHERE previous_digest IS NOT NULL;

CREATE TABLE service_token_use (
    service_token_id TEXT NOT NULL,
    version          BIGINT NOT NULL,
    last_seen_at     BIGINT NOT NULL,
    visited_at       BIGINT,
    address          TEXT,
    user_agent       TEXT,
    PRIMARY KEY (service_token_id, version)
) WITHOUT ROWID;

INSERT INTO service_token_use (service_token_id, version, last_seen_at)
SELECT service_token_id, 0, last_seen_at FROM service_token_seen ORDER BY service_token_id;

DROP TABLE service_token_seen;

-- Who wants the secret before to end once nobody has come with it for a while. It holds for one rotation, that to
-- secret_version.
CREATE TABLE rotation_wish (
    service_token_id TEXT NOT NULL PRIMARY KEY,
    account_id       TEXT NOT NULL,
    zone_id          TEXT NOT NULL,
    secret_version   BIGINT NOT NULL,
    quiet            TEXT NOT NULL,
    asked_at         BIGINT NOT NULL,
    actor_kind       TEXT NOT NULL,
    actor_id         TEXT NOT NULL
) WITHOUT ROWID;
