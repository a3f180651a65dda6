//! Mutants: locks that break one rule of the protocol each. The model must see each of them break a
//! promise; otherwise it would not notice if the real protocol broke one.

use lockbydir_protocol::promise;

macro_rules! mutants {
    ($($(#[doc = $text:literal])* $name:ident => $promise:ident,)*) => {
        /// A lock with one rule broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $($(#[doc = $text])* $name,)*
        }

        impl Mutant {
            /// All mutants.
            pub const ALL: &[Mutant] = &[$(Mutant::$name),*];

            /// Returns what it does, in a sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Mutant::$name => concat!($($text),*).trim_ascii(),)*
                }
            }

            /// Returns the promise that it must break.
            #[must_use]
            pub fn promise(self) -> &'static str {
                match self {
                    $(Mutant::$name => promise::$promise,)*
                }
            }
        }
    };
}

mutants! {
    /// A renewal leaves the name as it is.
    RenewsInPlace => AT_MOST_ONE_VALID_HOLDER,
    /// A takeover takes the name that is there by then, not the name that was judged.
    BreaksByFixedName => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// All acquisitions have the same nonce.
    ReusesItsNonce => AT_MOST_ONE_VALID_HOLDER,
    /// A judge uses the wall clock.
    JudgesByTheWallClock => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// The holder's clock stands still while its computer sleeps.
    ClockStopsInSuspend => AT_MOST_ONE_VALID_HOLDER,
    /// The holder counts its deadline from the end of the call.
    CountsFromAfterTheCall => AT_MOST_ONE_VALID_HOLDER,
    /// The holder uses its whole timeout without a margin, and its clock is a little slow.
    HasNoMargin => AT_MOST_ONE_VALID_HOLDER,
    /// A process believes a call that reports success.
    BelievesItsCalls => AT_MOST_ONE_VALID_HOLDER,
    /// A process that gets an error believes that the call had no effect.
    LooksNotAfterAnError => WHO_GIVES_UP_NEVER_GETS_IT_LATER,
    /// An install replaces an existing directory.
    InstallReplaces => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// A judge uses its own timeout instead of the holder's.
    JudgesByItsOwnTimeout => A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS,
    /// A key shortens the holding of a process that does not learn of it.
    ShortensByKey => AT_MOST_ONE_VALID_HOLDER,
    /// A living process is reported as gone.
    SaysThatTheLivingAreGone => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// A number is read, and a larger number is written later.
    ReadsAddsAndWritesItsNumber => NUMBERS_GROW,
    /// A release unlinks any entry in D.
    ReleasesByPath => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// The last step of a release removes the directory at D's path with all its content.
    RemovesByPath => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// A directory that contains a foreign thing is used like any other.
    AdoptsForeign => NAMES_OF_OTHERS_ARE_NEVER_TOUCHED,
    /// An empty D can never be removed.
    EmptyDirectoryStays => A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN,
    /// A release or a break empties a directory that it may not remove.
    EmptiesWhatItMayNotRemove => A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN,
    /// A waiter that gives up leaves its call under way.
    GivesUpAmidACall => WHO_GIVES_UP_NEVER_GETS_IT_LATER,
    /// A ticket is renamed to go to the end of the queue.
    TicketRenamed => THE_QUEUE_MOVES,
    /// A newcomer looks at D before it has its ticket, and not again.
    LooksBeforeItHasATicket => THE_QUEUE_MOVES,
    /// The bell is rung before the lock is free.
    RingsBeforeTheRelease => THE_QUEUE_MOVES,
    /// A release rings the bell that it found at first, though another bell has replaced it.
    RingsAnOldBell => THE_QUEUE_MOVES,
    /// A newcomer takes a free lock although others wait.
    DoesNotQueue => THE_QUEUE_MOVES,
    /// A try gives the first in the queue no time to take the lock.
    PassesOverAtOnce => THE_QUEUE_MOVES,
    /// A try does not look again when the time of the first in the queue is over.
    LooksNotAgainAfterItsMoment => THE_QUEUE_MOVES,
    /// A try starts over after each pause.
    TriesForEver => THE_QUEUE_MOVES,
    /// A try never passes a waiter over.
    TriesNotBehindAWaiter => THE_QUEUE_MOVES,
    /// A command begins when its name is in the lock, even if that is known too late.
    BeginsWithoutAsking => AT_MOST_ONE_VALID_HOLDER,
}
