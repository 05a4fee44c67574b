-- The networks that a service token may be presented from, with commas between them; NULL is anywhere. The rules of 0001
-- and 0002 hold. Keep in step with ../sqlite.

ALTER TABLE service_token ADD COLUMN allow_from TEXT;
