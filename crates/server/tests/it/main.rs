//! The server through its public door: every test asks the management API or the gate as a client does, in one process,
//! on a clock that stands still and with randomness that repeats itself, on SQLite and on PostgreSQL.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod admin;
mod admission;
mod allow_from;
mod architecture;
mod assertion;
mod audit;
mod caller;
mod connect;
mod create;
mod delete;
mod error;
mod feed;
mod history;
mod hostile;
mod idempotency;
mod identity;
mod import;
mod installation_key;
mod list;
mod outage;
mod paging;
mod prefactor;
mod proto;
mod read;
mod refusal;
mod restart;
mod rotate;
mod rotation;
mod route;
mod snapshot;
mod sweep;
mod update;
mod witness;
mod world;
