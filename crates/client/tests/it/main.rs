//! The client against a server that says what the test wants.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cloudflare;
mod prefactor;
mod server;
mod verifier;
