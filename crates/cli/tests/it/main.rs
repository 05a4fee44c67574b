//! The real binary, in its own process, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

#[path = "../../../store/tests/it/postgres.rs"]
mod postgres;
mod world;

mod administration;
mod api_token;
mod assertion;
mod audit;
mod backup;
mod completions;
mod crash;
mod doctor;
mod help;
mod import;
mod in_process;
mod init;
mod installation_key;
mod quickstart;
mod request_log;
mod serve;
mod service_token;
mod signing_key;
mod tls;
mod validate_config;
