//! Proofs of lockbydir's promises between real processes.
//!
//! Two programs are for people: `lockbydir-torture` tortures a lock and judges exactly what
//! happened, `lockbydir-passthrough` mounts a folder anew through FUSE, and lies if told so.
//!
//! Behind them, and behind the tests: the [`torture`], the [`history`] that its workers tell and
//! the exact [`judge`] of it, the token-checking [`store`], the known-bad [`rivals`] that show that
//! it bites, the [`clock`] and the dice ([`chance`]), the [`puppet`], a worker process moved by one
//! command at a time, the durations that people type ([`durations`]), and the sizes of tests ([`Size`]).
//! The promises are tested in `tests/it`, by one sentence-named test each; `tests/mounts` does so on
//! other mounts and in containers.
//!
//! # Sizes
//! Plain `cargo test` takes a quick look. `LOCKBYDIR_PROOF=full` takes a long one, and
//! `-- --nocapture` shows every test's figures:
//!
//! ```text
//! LOCKBYDIR_PROOF=full cargo test -p lockbydir-proof -- --nocapture
//! ```
//!
//! `LOCKBYDIR_PROOF=long` takes one between the two, of some minutes. `LOCKBYDIR_PROOF_DIR` is the
//! folder that the tests "on disk" use instead of the build's, to try another file system.

pub mod chance;
pub mod clock;
pub mod durations;
pub mod history;
pub mod judge;
pub mod passthrough;
pub mod rivals;
pub mod scripted_worker;
pub mod simulation;
pub mod store;
pub mod torture;

/// How much of something a test does: in a quick look, and in a full one.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    quick: u64,
    long: u64,
    full: u64,
}

/// Processes that count.
pub const COUNTERS: Size = Size { quick: 16, long: 64, full: 16 };
/// Acquisitions of each of the processes that count.
pub const ACQUISITIONS: Size = Size { quick: 100, long: 160, full: 2_000 };
/// Contended handoffs while processes are killed and stopped.
pub const TORTURED: Size = Size { quick: 1_000, long: 10_000, full: 100_000 };
/// Expired locks that are judged by many at once.
pub const ROUNDS: Size = Size { quick: 300, long: 2_000, full: 10_000 };
/// Holders that are killed while another waits.
pub const DEATHS: Size = Size { quick: 15, long: 50, full: 200 };

/// Processes that fork their successors in a small range of PIDs.
pub const FORKS: Size = Size { quick: 400, long: 2_000, full: 10_000 };

/// Processes in a storm, and its length in seconds.
pub const STORM: (Size, Size) =
    (Size { quick: 16, long: 64, full: 64 }, Size { quick: 5, long: 20, full: 60 });

/// Seconds of torture on each mount and in each kind of container.
pub const MOUNTED: Size = Size { quick: 4, long: 8, full: 60 };

/// Schedules in the lying directory.
pub const SCHEDULES: Size = Size { quick: 1_000, long: 100_000, full: 1_000_000 };
/// Of the plays in which one call fails in one way, every how many-th is played.
pub const EVERY_CALL: Size = Size { quick: 41, long: 1, full: 1 };

impl Size {
    /// The number, as `LOCKBYDIR_PROOF` says: unset is quick.
    ///
    /// # Panics
    /// When it is set to anything but `quick` or `full`.
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
