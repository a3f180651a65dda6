//! Lockbydir's promises, between real processes, on real file systems. The documentation of the
//! `lockbydir_proof` crate describes how long the tests run.

mod attacks;
mod before;
mod clock_steps;
mod crash_points;
#[cfg(target_os = "linux")]
mod deadlocks;
mod death;
mod doctor;
mod exclusion;
mod forks;
mod kills;
mod known_bad;
mod lingering;
mod one_winner;
mod pauses;
mod stage;
mod stop_points;
mod storm;
mod timeouts;
mod torture;
