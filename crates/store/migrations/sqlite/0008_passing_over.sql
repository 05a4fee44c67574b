-- The indexes that serve lists say of each row that it is not deleted, which they know by themselves: with the column in
-- them, SQLite passes over rows without reading them. PostgreSQL does so anyway. Keep in step with ../postgres.

DROP INDEX service_token_owner;
CREATE INDEX service_token_owner ON service_token (account_id, zone_id, id, deleted_at) WHERE deleted_at IS NULL;

DROP INDEX api_token_account;
CREATE INDEX api_token_account ON api_token (account_id, id, deleted_at) WHERE deleted_at IS NULL;
