//! Tests of the machines: with scripted answers, one file for each verb, and with arbitrary answers.

#![allow(missing_docs, reason = "test names are sentences")]

mod acquire;
mod any_answers;
mod behind;
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
