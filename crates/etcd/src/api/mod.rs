//! The part of etcd's API that a lock needs: its messages, and the calls that send them. It decides
//! nothing, and knows nothing of locks.
//!
//! Not part of this crate's interface: public only for the benches and the proofs, which make the same
//! calls without a lock.

mod client;
#[cfg(test)]
mod golden;
mod messages;

pub use client::{Call, Client, Login, Method, Watch};
pub(crate) use client::{decode, encode};
pub use messages::*;
pub use tonic::Status;
pub use tonic::transport::{Channel, Endpoint};
