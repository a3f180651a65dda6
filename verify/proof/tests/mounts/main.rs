//! The lock on other mounts and in containers: exclusion, with a judge, and the messages to the user.
//!
//! All tests need root, to mount and to make namespaces; `verify/gate/mounts` runs them.

#![allow(missing_docs, reason = "test names are sentences")]

mod bound;
mod clocks;
mod frozen;
mod fuse;
mod namespaces;
mod overlay;
mod place;
mod proc;
mod program;
mod read_only;
mod users;
