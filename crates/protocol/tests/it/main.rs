//! The machines, told answers: scripted ones, a verb a file, and any at all.

#![allow(missing_docs, reason = "test names are sentences")]

mod acquire;
mod any_answers;
mod evict;
mod hostile;
mod inspect;
mod names;
mod play;
mod queue;
mod races;
mod regressions;
mod release;
mod renew;
mod short_names;
mod vacancy;
mod verdict;
