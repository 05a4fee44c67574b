-- Programs that follow the feed through a server stand on the list of nodes beside the servers. Keep in step with
-- ../sqlite.

ALTER TABLE node ADD COLUMN is_verifier BIGINT NOT NULL DEFAULT 0;
