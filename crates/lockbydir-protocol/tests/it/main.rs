//! The machines, told answers: a script for each of their verbs.

#![allow(missing_docs, reason = "test names are sentences")]

mod acquire;
mod evict;
mod inspect;
mod names;
mod play;
mod queue;
mod races;
mod release;
mod renew;
mod vacancy;
mod verdict;
