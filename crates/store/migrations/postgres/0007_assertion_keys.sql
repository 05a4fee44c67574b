-- The keys that sign assertions. The rules of 0001 hold. Keep in step with ../sqlite.

-- `current_at` is the time from which on a key signs, until the next one does. `closed` is the private key, closed under
-- the installation key `closed_under`.
CREATE TABLE assertion_key (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    published_at BIGINT NOT NULL,
    current_at   BIGINT NOT NULL,
    closed       TEXT   NOT NULL,
    closed_under BIGINT NOT NULL,
    certificate  TEXT   NOT NULL
);

-- After how many days another key signs.
ALTER TABLE installation ADD COLUMN assertion_key_days BIGINT NOT NULL DEFAULT 42;
