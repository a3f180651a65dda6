//! Processes that misbehave, each in one way: the simulation must detect each of them, by the name of the
//! promise that it breaks. Otherwise the simulation would prove nothing.

use lockbydir_protocol::promise;

use super::oracle::EVERY_CALL_ENDS;

/// The misbehavior of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// It continues to work beyond its deadline.
    HoldsTooLong,
    /// It ends any hold that it finds.
    EndsWhatItFinds,
    /// It ends a hold that is older than its own timeout.
    ObeysItsOwnTimeout,
    /// It sets its own timeout, even a shorter one, on a hold that it finds.
    ShortensWhatItFinds,
    /// It counts its numbers from a wall clock that was set back.
    SetsItsClockBack,
    /// It publishes an entry of an attempt that is over.
    ComesLate,
    /// It leaves a file of its own in the lock directory.
    LeavesAThing,
    /// It removes a file that does not belong to the lock.
    TidiesUp,
    /// It panics.
    Panics,
}

/// The name of the file that [`Mutant::LeavesAThing`] leaves in the lock directory.
pub(super) const THING: &str = "thing";

/// All mutants.
pub const ALL: [Mutant; 9] = [
    Mutant::HoldsTooLong,
    Mutant::EndsWhatItFinds,
    Mutant::ObeysItsOwnTimeout,
    Mutant::ShortensWhatItFinds,
    Mutant::SetsItsClockBack,
    Mutant::ComesLate,
    Mutant::LeavesAThing,
    Mutant::TidiesUp,
    Mutant::Panics,
];

impl Mutant {
    /// Returns the promise that it breaks.
    #[must_use]
    pub fn breaks(self) -> &'static str {
        match self {
            Mutant::HoldsTooLong => promise::AT_MOST_ONE_VALID_HOLDER,
            Mutant::EndsWhatItFinds => promise::ONLY_THE_HOLDER_ENDS_A_HOLD,
            Mutant::ObeysItsOwnTimeout | Mutant::ShortensWhatItFinds => {
                promise::A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS
            }
            Mutant::SetsItsClockBack => promise::NUMBERS_GROW,
            Mutant::ComesLate => promise::WHO_GIVES_UP_NEVER_GETS_IT_LATER,
            Mutant::LeavesAThing => promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN,
            Mutant::TidiesUp => promise::NAMES_OF_OTHERS_ARE_NEVER_TOUCHED,
            Mutant::Panics => EVERY_CALL_ENDS,
        }
    }
}
