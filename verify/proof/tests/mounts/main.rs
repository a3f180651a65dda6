//! The lock on other mounts and in containers: exclusion, judged, and what a person is told.
//!
//! All of it needs root, to mount and to make namespaces; `verify/gate/mounts` runs it.

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
