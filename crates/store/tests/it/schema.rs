//! Rules that every migration has to keep.

use sqlx::Row as _;

use crate::{World, on_both};

on_both! {
    columns_have_types_that_both_databases_share,
    every_table_with_revisions_is_read_by_them,
    sorted_text_is_sorted_by_its_bytes,
}

async fn columns(world: &World) -> Vec<(String, String, String)> {
    drop(world.open().await);
    columns_there(world).await
}

/// Table, column and type of everything that there is.
pub(crate) async fn columns_there(world: &World) -> Vec<(String, String, String)> {
    let sql = match world.file() {
        Some(_) => {
            "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' ORDER BY 1, 2"
        }
        None => {
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_schema = 'public' ORDER BY 1, 2"
        }
    };
    world.sql(sql).await.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

async fn columns_have_types_that_both_databases_share(world: World) {
    let columns = columns(&world).await;
    assert!(columns.len() > 80, "{columns:?}");
    for (table, column, kind) in columns {
        let allowed = ["TEXT", "BIGINT", "BLOB", "BYTEA"].contains(&kind.to_uppercase().as_str());
        assert!(allowed, "{table}.{column} is {kind}");
    }
}

async fn every_table_with_revisions_is_read_by_them(world: World) {
    let tables: Vec<String> = columns(&world)
        .await
        .into_iter()
        .filter(|(_, column, _)| column == "revision")
        .map(|(table, _, _)| table)
        .collect();
    assert!(tables.len() >= 7, "{tables:?}");
    for table in tables {
        let sql = match world.file() {
            Some(_) => format!(
                "SELECT COUNT(*) FROM pragma_index_list('{table}') l JOIN pragma_index_info(l.name) i \
                 WHERE i.seqno = 0 AND i.name = 'revision' AND l.partial = 0"
            ),
            None => format!(
                "SELECT COUNT(*) FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid \
                 AND a.attnum = x.indkey[0] WHERE x.indrelid = '{table}'::regclass AND a.attname = 'revision' \
                 AND x.indpred IS NULL"
            ),
        };
        assert_eq!(world.sql(&sql).await[0].get::<i64, _>(0), 1, "{table} has no index on its revision");
    }
}

async fn sorted_text_is_sorted_by_its_bytes(world: World) {
    drop(world.open().await);
    if world.file().is_some() {
        // SQLite compares bytes unless told otherwise.
        return;
    }
    let sql = "SELECT COUNT(*), COALESCE(string_agg(c.relname || '.' || a.attname, ' '), '') FROM pg_index x \
               JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey) \
               WHERE n.nspname = 'public' AND a.atttypid = 'text'::regtype \
               AND a.attcollation <> '\"C\"'::regcollation";
    let rows = world.sql(sql).await;
    assert_eq!(rows[0].get::<i64, _>(0), 0, "without COLLATE \"C\": {}", rows[0].get::<String, _>(1));
}
