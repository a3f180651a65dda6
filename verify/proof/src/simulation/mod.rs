//! The lying directory: the real library on a real directory in memory, and between the two a
//! world that lies. Each raw call of each verb may be refused, be done and fail all the same, be
//! said to be done, move a stage into D, be late, or be the last one of its process; meanwhile
//! others do whole verbs, or single calls, of their own. Clocks, nonces, processes and hosts are
//! made, and one contender at a time has the turn: so every play is the same again for the same
//! seed.
//!
//! After each change and each answer the promises are checked by their names, and at the end
//! whoever comes last gets the lock in the promised time, and clears everything away.
//!
//! - [`every_call`]: each verb, each of its calls, each fault, once and for good.
//! - [`schedule`]: contenders, verbs and faults drawn by seed.
//!
//! # What is not promised
//! Where one kernel owns the file system, its "done" and its "no such file" are true; where it
//! lied in these, a lock could be lost without notice. So those two lies are told only where the
//! file system is not one kernel's alone ([`Lie::all`](faults::Lie::all)). Any other error may be wrong there as well.

mod actor;
mod contender;
pub mod every_call;
pub mod faults;
mod final_check;
pub mod mutant;
mod oracle;
pub mod run;
pub mod schedule;
mod scheduler;
mod state;

pub use actor::RENEWED_BY_KEY;
pub use contender::{Action, SimulatedProcess};
pub use oracle::{Broken, EVERY_CALL_ENDS};
pub use state::{FaultRates, InjectedFault};
