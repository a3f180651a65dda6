//! The calls of Unix that [lockbydir](https://docs.rs/lockbydir) can make only by `unsafe` code, in
//! safe words: it has no `unsafe` of its own. Not for others: what is here changes with it. Empty on
//! other systems.
#![cfg(unix)]

mod fork;

pub use fork::fork_generation;
