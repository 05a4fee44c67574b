//! Brings the schema up to date, once, whoever comes first.

use std::path::Path;

use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;

use crate::database::Database;
use crate::error::Error;
use crate::row::Columns;

/// One step of the schema. An applied one is never edited.
struct Migration {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "initial",
        sqlite: include_str!("../migrations/sqlite/0001_initial.sql"),
        postgres: include_str!("../migrations/postgres/0001_initial.sql"),
    },
    Migration {
        version: 2,
        name: "api_tokens",
        sqlite: include_str!("../migrations/sqlite/0002_api_tokens.sql"),
        postgres: include_str!("../migrations/postgres/0002_api_tokens.sql"),
    },
    Migration {
        version: 3,
        name: "installation_keys",
        sqlite: include_str!("../migrations/sqlite/0003_installation_keys.sql"),
        postgres: include_str!("../migrations/postgres/0003_installation_keys.sql"),
    },
    Migration {
        version: 4,
        name: "audit",
        sqlite: include_str!("../migrations/sqlite/0004_audit.sql"),
        postgres: include_str!("../migrations/postgres/0004_audit.sql"),
    },
    Migration {
        version: 5,
        name: "api_token_count",
        sqlite: include_str!("../migrations/sqlite/0005_api_token_count.sql"),
        postgres: include_str!("../migrations/postgres/0005_api_token_count.sql"),
    },
    Migration {
        version: 6,
        name: "seen",
        sqlite: include_str!("../migrations/sqlite/0006_seen.sql"),
        postgres: include_str!("../migrations/postgres/0006_seen.sql"),
    },
    Migration {
        version: 7,
        name: "assertion_keys",
        sqlite: include_str!("../migrations/sqlite/0007_assertion_keys.sql"),
        postgres: include_str!("../migrations/postgres/0007_assertion_keys.sql"),
    },
    Migration {
        version: 8,
        name: "passing_over",
        sqlite: include_str!("../migrations/sqlite/0008_passing_over.sql"),
        postgres: include_str!("../migrations/postgres/0008_passing_over.sql"),
    },
    Migration {
        version: 9,
        name: "allow_from",
        sqlite: include_str!("../migrations/sqlite/0009_allow_from.sql"),
        postgres: include_str!("../migrations/postgres/0009_allow_from.sql"),
    },
    Migration {
        version: 10,
        name: "secret_use",
        sqlite: include_str!("../migrations/sqlite/0010_secret_use.sql"),
        postgres: include_str!("../migrations/postgres/0010_secret_use.sql"),
    },
    Migration {
        version: 11,
        name: "verifiers",
        sqlite: include_str!("../migrations/sqlite/0011_verifiers.sql"),
        postgres: include_str!("../migrations/postgres/0011_verifiers.sql"),
    },
];

/// The newest version that this program knows.
pub(crate) fn known_version() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

/// The version that a database has; `None` if it has none of our tables. Changes nothing.
pub(crate) async fn find_version(database: &Database, connection: &mut AnyConnection) -> Result<Option<i64>, Error> {
    let sql = match database {
        Database::Sqlite(_) => {
            "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'countersign_migration'"
        }
        Database::Postgres(_) => "SELECT COUNT(*) FROM pg_class WHERE oid = to_regclass('countersign_migration')",
    };
    let row = sqlx::query(sql).fetch_one(&mut *connection).await?;
    if Columns::of("countersign_migration", &row).int()? == 0 {
        return Ok(None);
    }
    Ok(applied(connection).await?.last().map(|(version, _)| *version))
}

/// Applies what is missing, in one transaction that holds out every other process.
pub(crate) async fn migrate(database: &Database, connection: &mut AnyConnection) -> Result<(), Error> {
    migrate_to(database, connection, i64::MAX).await
}

/// The same, up to and including the step `newest`.
pub(crate) async fn migrate_to(database: &Database, connection: &mut AnyConnection, newest: i64) -> Result<(), Error> {
    // The advisory lock's number is any that nobody else uses. `DO`, because the driver knows no `void`.
    let begin = match database {
        Database::Sqlite(_) => "BEGIN IMMEDIATE",
        Database::Postgres(_) => "BEGIN; DO $$ BEGIN PERFORM pg_advisory_xact_lock(4851922735161); END $$",
    };
    sqlx::raw_sql(begin).execute(&mut *connection).await?;
    let outcome = migrate_locked(database, connection, newest).await;
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = sqlx::raw_sql(end).execute(&mut *connection).await;
    outcome?;
    ended?;
    Ok(())
}

async fn migrate_locked(database: &Database, connection: &mut AnyConnection, newest: i64) -> Result<(), Error> {
    if let Database::Sqlite(path) = database {
        refuse_foreign_file(path, connection).await?;
    }
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS countersign_migration \
         (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)",
    )
    .execute(&mut *connection)
    .await?;
    let applied = applied(connection).await?;
    let known = known_version();
    if let Some((found, _)) = applied.last().filter(|(found, _)| *found > known) {
        return Err(Error::SchemaNewer { found: *found, known });
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version <= newest) {
        let text = match database {
            Database::Sqlite(_) => migration.sqlite,
            Database::Postgres(_) => migration.postgres,
        };
        let checksum = checksum(text);
        match applied.iter().find(|(version, _)| *version == migration.version) {
            Some((_, applied)) if *applied == checksum => {}
            Some(_) => return Err(Error::SchemaChanged { version: migration.version }),
            None => {
                sqlx::raw_sql(text).execute(&mut *connection).await?;
                sqlx::query("INSERT INTO countersign_migration (version, name, checksum) VALUES ($1, $2, $3)")
                    .bind(migration.version)
                    .bind(migration.name)
                    .bind(checksum)
                    .execute(&mut *connection)
                    .await?;
                tracing::info!(
                    schema.version = migration.version,
                    schema.name = migration.name,
                    "schema brought up to date"
                );
            }
        }
    }
    Ok(())
}

async fn applied(connection: &mut AnyConnection) -> Result<Vec<(i64, String)>, Error> {
    let rows = sqlx::query("SELECT version, checksum FROM countersign_migration ORDER BY version")
        .fetch_all(&mut *connection)
        .await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of("countersign_migration", row);
            Ok((columns.int()?, columns.text()?.to_owned()))
        })
        .collect()
}

/// A file that holds another program's tables was named by mistake.
async fn refuse_foreign_file(path: &Path, connection: &mut AnyConnection) -> Result<(), Error> {
    let row = sqlx::query(
        "SELECT COUNT(*), COALESCE(SUM(name = 'countersign_migration'), 0) FROM sqlite_master WHERE type = 'table'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let mut columns = Columns::of("sqlite_master", &row);
    if columns.int()? > 0 && columns.int()? == 0 {
        let problem = "it holds the tables of another program".to_owned();
        return Err(Error::Foreign { path: path.to_owned(), problem });
    }
    Ok(())
}

fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_step_in_order() {
        let names: Vec<String> =
            MIGRATIONS.iter().map(|step| format!("{:04}_{}.sql", step.version, step.name)).collect();
        for folder in ["sqlite", "postgres"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
            let mut files: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            assert_eq!(files, names);
        }
    }
}
