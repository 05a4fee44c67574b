-- The indexes that serve lists say of each row that it is not deleted, which they know by themselves: with the column in
-- them, SQLite passes over rows without reading them. PostgreSQL does so anyway. Keep in step with ../sqlite.

SELECT 1;
