//! The gate over real sockets, without a store: the tests change the index and a manual clock, and ask.

mod credentials;
mod decisions;
mod demands;
mod grpc;
mod protocol;
mod slowing;
mod sockets;
mod tls;
mod world;
