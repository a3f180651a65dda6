//! Safe wrappers of the calls of Unix that [lockbydir](https://docs.rs/lockbydir) can make only by
//! `unsafe` code, so that it has no `unsafe` of its own. Not for other users: this interface changes
//! with `lockbydir`. Empty on other systems.
#![cfg(unix)]

mod fork;

pub use fork::fork_generation;
