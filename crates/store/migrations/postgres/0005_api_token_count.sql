-- How many API tokens each account has that are not deleted: a list says its total without counting. The rules of 0001
-- hold. Keep in step with ../sqlite.

CREATE TABLE api_token_count (
    account_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    live       BIGINT NOT NULL
);

INSERT INTO api_token_count (account_id, live)
SELECT account_id, COUNT(*) FROM api_token WHERE deleted_at IS NULL GROUP BY account_id;
