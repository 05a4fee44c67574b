//! The tables of a backup.

/// A table, as it is backed up.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The columns of its key, by which rows are ordered: they go in faster in the order of the tree that holds them.
    pub(super) key: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
}

/// The types of columns that both databases share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Bytes,
}

use Kind::{Bytes, Int, Text};

/// The table with the counter. It has its one row from the start.
pub(super) const REVISION: &str = "revision";

/// Every table of the newest schema, and what it refers to before it. Left out are `node`, which says what runs at the
/// moment, and `countersign_migration`, which a restore makes anew.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "installation",
        key: "one",
        columns: &[
            ("one", Int),
            ("id", Text),
            ("created_at", Int),
            ("key_check", Bytes),
            ("max_staleness", Int),
            ("signing_key_id", Text),
        ],
    },
    Table {
        name: REVISION,
        key: "one",
        columns: &[
            ("one", Int),
            ("value", Int),
            ("directory_revision", Int),
            ("service_token_revision", Int),
            ("api_token_revision", Int),
            ("audit_seq", Int),
            ("audit_mac", Bytes),
            ("horizon", Int),
        ],
    },
    Table {
        name: "account",
        key: "id",
        columns: &[
            ("id", Text),
            ("pfid", Text),
            ("name", Text),
            ("organisation_name", Text),
            ("purpose", Text),
            ("created_at", Int),
            ("updated_at", Int),
            ("revision", Int),
        ],
    },
    Table {
        name: "zone",
        key: "id",
        columns: &[("id", Text), ("account_id", Text), ("name", Text), ("created_at", Int), ("revision", Int)],
    },
    Table {
        name: "environment",
        key: "id",
        columns: &[
            ("id", Text),
            ("account_id", Text),
            ("name", Text),
            ("purpose", Text),
            ("description", Text),
            ("external_identifier", Text),
            ("created_at", Int),
            ("updated_at", Int),
            ("deleted_at", Int),
            ("revision", Int),
        ],
    },
    Table {
        name: "app_user",
        key: "id",
        columns: &[
            ("id", Text),
            ("pfid", Text),
            ("email", Text),
            ("email_folded", Text),
            ("key_digest", Bytes),
            ("installation_owner", Int),
            ("name", Text),
            ("job_title", Text),
            ("profile_completed_at", Int),
            ("last_active_at", Int),
            ("created_at", Int),
            ("updated_at", Int),
            ("revision", Int),
        ],
    },
    Table {
        name: "membership",
        key: "user_id, account_id",
        columns: &[("user_id", Text), ("account_id", Text), ("created_at", Int)],
    },
    Table {
        name: "management_token",
        key: "id",
        columns: &[
            ("id", Text),
            ("user_id", Text),
            ("account_id", Text),
            ("name", Text),
            ("digest", Bytes),
            ("created_at", Int),
            ("expires_at", Int),
            ("revoked_at", Int),
            ("last_used_at", Int),
            ("revision", Int),
        ],
    },
    Table {
        name: "management_grant",
        key: "management_token_id, account_id, permission",
        columns: &[("management_token_id", Text), ("account_id", Text), ("permission", Text)],
    },
    Table {
        name: "agent",
        key: "id",
        columns: &[
            ("id", Text),
            ("account_id", Text),
            ("name", Text),
            ("inserted_at", Int),
            ("updated_at", Int),
            ("deleted_at", Int),
        ],
    },
    Table {
        name: "agent_deployment",
        key: "id",
        columns: &[
            ("id", Text),
            ("account_id", Text),
            ("agent_id", Text),
            ("environment_id", Text),
            ("inserted_at", Int),
            ("updated_at", Int),
            ("deleted_at", Int),
        ],
    },
    Table {
        name: "admin_user_invite",
        key: "id",
        columns: &[
            ("id", Text),
            ("account_id", Text),
            ("email", Text),
            ("status", Text),
            ("inserted_at", Int),
            ("updated_at", Int),
        ],
    },
    Table {
        name: "service_token",
        key: "id",
        columns: &[
            ("id", Text),
            ("account_id", Text),
            ("zone_id", Text),
            ("client_id", Text),
            ("name", Text),
            ("name_folded", Text),
            ("duration", Text),
            ("enabled", Int),
            ("secret_version", Int),
            ("digest", Bytes),
            ("previous_digest", Bytes),
            ("previous_expires_at", Int),
            ("created_at", Int),
            ("updated_at", Int),
            ("expires_at", Int),
            ("last_seen_at", Int),
            ("deleted_at", Int),
            ("revision", Int),
        ],
    },
    Table {
        name: "service_token_count",
        key: "account_id, zone_id",
        columns: &[("account_id", Text), ("zone_id", Text), ("live", Int)],
    },
    Table {
        name: "api_token",
        key: "id",
        columns: &[
            ("id", Text),
            ("account_id", Text),
            ("scope", Text),
            ("environment_id", Text),
            ("agent_id", Text),
            ("agent_deployment_id", Text),
            ("status", Text),
            ("digest", Bytes),
            ("key_id", Text),
            ("issued_at", Int),
            ("expires_at", Int),
            ("created_by", Text),
            ("last_used_at", Int),
            ("inserted_at", Int),
            ("updated_at", Int),
            ("deleted_at", Int),
            ("ended_at", Int),
            ("revision", Int),
        ],
    },
    Table { name: "api_token_count", key: "account_id", columns: &[("account_id", Text), ("live", Int)] },
    Table {
        name: "idempotent_answer",
        key: "account_id, key",
        columns: &[
            ("account_id", Text),
            ("key", Text),
            ("fingerprint", Bytes),
            ("subject", Text),
            ("answer", Text),
            ("created_at", Int),
        ],
    },
    Table {
        name: "audit_event",
        key: "seq",
        columns: &[
            ("seq", Int),
            ("at", Int),
            ("actor_kind", Text),
            ("actor_id", Text),
            ("action", Text),
            ("subject_kind", Text),
            ("subject_id", Text),
            ("account_id", Text),
            ("address", Text),
            ("request_id", Text),
            ("detail", Text),
            ("mac", Bytes),
        ],
    },
];
    Table { name: "audit_anchor", key: "one", columns: &[("one", Int), ("seq", Int), ("mac", Bytes), ("seal", Bytes)] },
