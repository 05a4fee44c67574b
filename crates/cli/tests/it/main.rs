//! The real binary, in its own process, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod world;

mod administration;
mod api_token;
mod audit;
mod completions;
mod crash;
mod help;
mod init;
mod quickstart;
mod serve;
mod service_token;
mod signing_key;
mod tls;
