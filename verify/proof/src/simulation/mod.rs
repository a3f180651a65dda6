//! The simulation: the real library on a real directory in memory, and between the two a world that lies.
//! Each raw call of each verb may be refused, be done but reported as failed, be reported as done but not
//! done, move a stage into D, be late, or be the last call of its process; meanwhile others perform whole
//! verbs, or single calls, of their own. Clocks, nonces, processes and hosts are simulated, and one process
//! at a time has the turn: so a simulation is the same again for the same seed.
//!
//! After each change and each answer the promises are checked by their names. At the end a last process
//! acquires the lock in the promised time, and cleans everything up.
//!
//! - [`every_call`]: each verb, each of its calls, each fault, once and permanently.
//! - [`schedule`]: processes, verbs and faults drawn by seed.
//!
//! # What is not promised
//! On a local file system, the kernel's "done" and its "no such file" are true; if it lied in these, a
//! lock could be lost without notice. So those two lies are used only where the file system is not local
//! ([`Lie::all`](faults::Lie::all)). Any other error may be wrong there as well.

mod actor;
mod contender;
pub mod every_call;
pub mod faults;
mod final_check;
mod handles;
mod machines;
mod misbehavior;
pub mod mutant;
mod oracle;
mod plot;
pub mod run;
pub mod schedule;
mod scheduler;
mod state;

pub use actor::RENEWED_BY_KEY;
pub use faults::{FaultRates, InjectedFault};
pub use oracle::{Broken, EVERY_CALL_ENDS};
pub use plot::{Action, Plot, SimulatedProcess};
