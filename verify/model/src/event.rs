//! What has happened in a world: a promise that is kept for want of events proves nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use stateright::Property;

use crate::state::Moment;
use crate::world::World;

macro_rules! events {
    ($($name:ident: $words:literal,)*) => {
        /// A property for each: that it happens sometimes.
        pub(crate) fn sometimes() -> Vec<Property<World>> {
            vec![$(Property::sometimes($words, |world: &World, _: &Moment| {
                world.notes.events.has(Event::$name)
            })),*]
        }

        /// Something that must happen in some run of a world.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event {
            $(#[doc = $words] $name,)*
        }

        impl Event {
            /// All of them.
            pub const ALL: &[Event] = &[$(Event::$name),*];

            /// In words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Event::$name => $words,)*
                }
            }
        }
    };
}

events! {
    Free: "got a lock that nobody had",
    HandedOver: "got an open lock",
    AfterExpiry: "took over an expired lock",
    AfterDeath: "took over a dead one's lock",
    AfterBare: "got a lock whose bare directory it had removed",
    NumberRaised: "raised its number after the install",
    InstallRaceLost: "was too late with its install",
    RenameRaceLost: "was too late with its rename",
    Renewed: "renewed in time",
    RenewedLate: "renewed after its deadline, and nobody had come",
    RenewedByKey: "renewed another's holding by its key",
    RefusedToShorten: "was refused to shorten another's holding by its key",
    CommandBegun: "began its command under the lock",
    NamedLate: "learned too late that its lock names its command, and asked once more",
    CommandNotStarted: "did not begin its command, for the lock was over",
    ToldOfALoss: "was told at a renewal that it holds no more",
    LostAtRelease: "was told at its release that it held no more",
    Remains: "left a directory that could not be removed",
    GotAfterAPause: "tried once, gave others their moment, and got it",
    PausedInVain: "tried once, gave others their moment, and did not get it",
    Broken: "broke a lock",
    GaveUp: "gave up",
    PatienceOver: "gave up in the queue",
    Paused: "stood still between a call and its answer",
    Crashed: "ended without a word",
    Lied: "was lied to",
    MovedInside: "had its stage moved into D",
    Torn: "saw a torn listing",
    Stale: "saw what was before",
    BareCame: "a plain mkdir",
    BareRemoved: "removed a bare lock",
    ForeignCame: "somebody put a file into D",
    Entered: "queued",
    EnteredAnew: "went behind a larger number",
    Notified: "heard the bell",
    ToldFirst: "was told to be first",
    ToldBehind: "was told who is ahead now",
    Silent: "heard the one ahead go without a word",
    HolderEnded: "noticed the holder's end",
    Expelled: "found its ticket gone",
    PassedOver: "passed over one that did not come",
    QueueClosed: "removed the queue",
    QueueNotEmpty: "found somebody in the queue that it removed",
}

/// Which ones have happened.
#[derive(Debug, Default)]
pub struct Events(AtomicU64);

impl Events {
    pub(crate) fn note(&self, event: Event) {
        self.0.fetch_or(1 << event as u64, Ordering::Relaxed);
    }

    /// Has it happened?
    #[must_use]
    pub fn has(&self, event: Event) -> bool {
        self.0.load(Ordering::Relaxed) >> event as u64 & 1 == 1
    }
}
