//! What a machine credential is, and whether a presented one is valid.

#![deny(missing_docs)]

pub mod api_token;
pub mod credential;
pub mod demand;
pub mod digest;
pub mod duration;
pub mod entropy;
pub mod feed;
pub mod id;
pub mod index;
pub mod permission;
pub mod secret;
pub mod service_token;
pub mod time;
pub mod verify;
