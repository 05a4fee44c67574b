//! Everything of Countersign that listens: the management dialects and the operations behind them, and the gate.
//!
//! [`ops`] is the only writer of credentials. A dialect ([`cloudflare`], [`prefactor`], and our own, [`admin`]) turns wire types into domain types, calls one
//! operation, and renders its own envelope. The [`gate`] reads the index in memory and never the store. [`follower`] is
//! the one way in which this node learns of a change, its own changes included.

pub mod admin;
pub mod assertion;
mod authentication;
mod body;
pub mod caller;
pub mod census;
pub mod cloudflare;
pub mod config;
mod connect;
mod fault;
pub mod finisher;
pub mod flusher;
pub mod follower;
pub mod gate;
mod invalid;
pub mod lifecycle;
pub mod limit;
pub mod management;
pub mod metrics;
pub mod ops;
mod post;
pub mod prefactor;
pub mod propagation;
#[cfg(test)]
mod property;
pub mod proxy;
mod query;
pub mod refusal;
pub mod rekeyer;
mod repeat;
mod route;
pub mod sweeper;
mod throttle;
mod ticks;
pub mod tls;
pub mod trace;
mod urlencoded;
pub mod visitor;
pub mod witness;

// The operations' arguments and answers are made of these; who calls the operations names them through here.
pub use {countersign_store as store, countersign_token as token};
