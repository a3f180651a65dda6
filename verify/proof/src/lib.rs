//! Tests of lockbydir's promises between real processes.
//!
//! Two programs are for users: `lockbydir-torture` tortures a lock and judges exactly what happened;
//! `lockbydir-passthrough` mounts a folder again through FUSE, and lies if configured to.
//!
//! They and the tests use: the [`torture`], the [`history`] that its workers write and the exact
//! [`judge`] of it, the token-checking [`store`], the known-bad [`known_bad`] that show that it finds faults,
//! the [`clock`] and the dice ([`chance`]), the [`scripted_worker`], a worker process that executes one
//! command at a time, the durations that users type ([`durations`]), and the sizes of tests ([`Size`]).
//! `tests/it` has one test for each promise, named by a sentence; `tests/mounts` tests the promises on other
//! mounts and in containers.
//!
//! # Sizes
//! Plain `cargo test` runs quick tests. `LOCKBYDIR_PROOF=full` runs long ones, and `-- --nocapture` shows
//! every test's figures:
//!
//! ```text
//! LOCKBYDIR_PROOF=full cargo test -p lockbydir-proof -- --nocapture
//! ```
//!
//! `LOCKBYDIR_PROOF=long` is between the two and takes some minutes. `LOCKBYDIR_PROOF_DIR` is the folder
//! that the tests "on disk" use instead of the build's, to test another file system.

pub mod chance;
pub mod clock;
pub mod durations;
pub mod history;
pub mod judge;
pub mod known_bad;
pub mod passthrough;
pub mod scripted_worker;
pub mod simulation;
pub mod store;
pub mod torture;

/// The size of a test, for each of the three settings of `LOCKBYDIR_PROOF`.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    quick: u64,
    long: u64,
    full: u64,
}

/// The number of processes that increment the counter.
pub const COUNTERS: Size = Size { quick: 16, long: 64, full: 16 };
/// The number of acquisitions by each process that increments the counter.
pub const ACQUISITIONS: Size = Size { quick: 100, long: 160, full: 2_000 };
/// The number of contended handoffs while processes are killed and stopped.
pub const TORTURED: Size = Size { quick: 1_000, long: 10_000, full: 100_000 };
/// The number of expired locks that several processes judge at once.
pub const ROUNDS: Size = Size { quick: 300, long: 2_000, full: 10_000 };
/// The number of holders that are killed while another process waits.
pub const DEATHS: Size = Size { quick: 15, long: 50, full: 200 };

/// The number of processes that fork their successors in a small range of PIDs.
pub const FORKS: Size = Size { quick: 400, long: 2_000, full: 10_000 };

/// The number of processes in a storm, and its length in seconds.
pub const STORM: (Size, Size) =
    (Size { quick: 16, long: 64, full: 64 }, Size { quick: 5, long: 20, full: 60 });

/// The seconds of torture on each mount and in each kind of container.
pub const MOUNTED: Size = Size { quick: 4, long: 8, full: 60 };

/// The number of schedules in the simulation.
pub const SCHEDULES: Size = Size { quick: 1_000, long: 100_000, full: 1_000_000 };
/// The step through the simulations in which one call fails in one way: every n-th is run.
pub const EVERY_CALL: Size = Size { quick: 41, long: 1, full: 1 };

impl Size {
    /// Returns the number for the value of `LOCKBYDIR_PROOF`: unset means quick.
    ///
    /// # Panics
    /// If it is set to anything but `quick`, `long` or `full`.
    #[must_use]
    pub fn number(self) -> u64 {
        match std::env::var("LOCKBYDIR_PROOF").as_deref() {
            Err(_) | Ok("quick") => self.quick,
            Ok("long") => self.long,
            Ok("full") => self.full,
            Ok(other) => panic!("LOCKBYDIR_PROOF is `quick`, `long` or `full`, not `{other}`"),
        }
    }
}
