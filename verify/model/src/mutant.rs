//! Mutants: what a lock does that breaks one rule of the protocol. Each must be seen to break a
//! promise; else the model would not see if ours did.

use lockbydir_protocol::promise;

macro_rules! mutants {
    ($($(#[doc = $text:literal])* $name:ident => $promise:ident,)*) => {
        /// One rule broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $($(#[doc = $text])* $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name),*];

            /// What it does, in a sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Mutant::$name => concat!($($text),*).trim_ascii(),)*
                }
            }

            /// The promise that it must break.
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
    /// Who takes over takes whatever is there by then, not the name that was judged.
    BreaksByFixedName => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// All acquisitions have the same nonce.
    ReusesItsNonce => AT_MOST_ONE_VALID_HOLDER,
    /// A judge goes by the wall clock.
    JudgesByTheWallClock => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// The holder's clock stands still while its computer sleeps.
    ClockStopsInSuspend => AT_MOST_ONE_VALID_HOLDER,
    /// The holder counts its deadline from after the call.
    CountsFromAfterTheCall => AT_MOST_ONE_VALID_HOLDER,
    /// The holder counts on its whole timeout, and its clock is a little slow.
    HasNoMargin => AT_MOST_ONE_VALID_HOLDER,
    /// Who is told "done" believes that it was.
    BelievesItsCalls => AT_MOST_ONE_VALID_HOLDER,
    /// Who is told of an error believes that nothing was done.
    LooksNotAfterAnError => WHO_GIVES_UP_NEVER_GETS_IT_LATER,
    /// An install replaces what is there.
    InstallReplaces => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// A judge takes its own timeout for the holder's.
    JudgesByItsOwnTimeout => A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS,
    /// A key shortens the holding of a process that does not learn of it.
    ShortensByKey => AT_MOST_ONE_VALID_HOLDER,
    /// A process that lives is said to be gone.
    SaysThatTheLivingAreGone => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// A number is read, and one larger is written later.
    ReadsAddsAndWritesItsNumber => NUMBERS_GROW,
    /// A release unlinks whatever is in D.
    ReleasesByPath => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// The last step of a release removes what is at D's path, with all that is in it.
    RemovesByPath => ONLY_THE_HOLDER_ENDS_A_HOLD,
    /// A directory with a thing in it that is not ours is used like any other.
    AdoptsForeign => NAMES_OF_OTHERS_ARE_NEVER_TOUCHED,
    /// An empty D can never be removed.
    EmptyDirectoryStays => A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN,
    /// A release or a break empties a directory that it may not remove.
    EmptiesWhatItMayNotRemove => A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN,
    /// Who gives up leaves its call under way.
    GivesUpAmidACall => WHO_GIVES_UP_NEVER_GETS_IT_LATER,
    /// A ticket is renamed to go to the end of the queue.
    TicketRenamed => THE_QUEUE_MOVES,
    /// Who comes looks at D before it has its ticket, and not again.
    LooksBeforeItHasATicket => THE_QUEUE_MOVES,
    /// The bell is rung before the lock is free.
    RingsBeforeTheRelease => THE_QUEUE_MOVES,
    /// A release rings the bell that it found at first, though another hangs there by now.
    RingsAnOldBell => THE_QUEUE_MOVES,
    /// A newcomer takes what is free, whoever waits.
    DoesNotQueue => THE_QUEUE_MOVES,
    /// A try gives the first in the queue no moment.
    PassesOverAtOnce => THE_QUEUE_MOVES,
    /// A try does not look again when the moment of the first in the queue is over.
    LooksNotAgainAfterItsMoment => THE_QUEUE_MOVES,
    /// A try begins anew when it has paused.
    TriesForEver => THE_QUEUE_MOVES,
    /// A try passes nobody over.
    TriesNotBehindAWaiter => THE_QUEUE_MOVES,
    /// A command begins when its name is in the lock, however late that is known.
    BeginsWithoutAsking => AT_MOST_ONE_VALID_HOLDER,
}
