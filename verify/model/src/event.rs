//! The events in a world: a promise that is kept because nothing happened proves nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use stateright::{Model, Property};

/// A model that records events.
pub(crate) trait HasEvents {
    /// Returns the events up to now, in all runs.
    fn events(&self) -> &Events;
}

macro_rules! events {
    ($($name:ident: $words:literal,)*) => {
        /// Returns one property for each event: that it happens in some state.
        pub(crate) fn sometimes<M: Model + HasEvents>() -> Vec<Property<M>> {
            vec![$(Property::sometimes($words, |world: &M, _: &M::State| {
                world.events().has(Event::$name)
            })),*]
        }

        /// Something that must happen in some run of a world.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event {
            $(#[doc = $words] $name,)*
        }

        impl Event {
            /// All events.
            pub const ALL: &[Event] = &[$(Event::$name),*];

            /// Returns the event in words.
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
    LostAtRenewal: "learned at a renewal that it holds no more",
    LostAtRelease: "learned at its release that it held no more",
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
    Notified: "was woken by the bell",
    NotifiedFirst: "was notified that it is first",
    NotifiedBehind: "was notified who is ahead now",
    Silent: "saw the waiter ahead leave without a handoff",
    HolderEnded: "noticed the holder's end",
    Expelled: "found its ticket gone",
    PassedOver: "passed over one that did not come",
    QueueClosed: "removed the queue",
    QueueNotEmpty: "found somebody in the queue that it removed",
}

/// The set of events that have happened.
#[derive(Debug, Default)]
pub struct Events(AtomicU64);

impl Events {
    pub(crate) fn note(&self, event: Event) {
        self.0.fetch_or(1 << event as u64, Ordering::Relaxed);
    }

    /// Whether the event has happened.
    #[must_use]
    pub fn has(&self, event: Event) -> bool {
        self.0.load(Ordering::Relaxed) >> event as u64 & 1 == 1
    }
}
