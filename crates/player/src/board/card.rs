//! A lock as it is now.

use serde::Serialize;

use crate::event::{Contender, How};

/// A lock as it is now. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// The name of the lock.
    pub lock: String,
    /// The state of the lock.
    pub state: State,
    /// Why nobody can acquire it, if it is foreign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The holder; the last one if its holding expired or it died.
    pub holder: Option<Contender>,
    /// The fencing token of this holding, or of the last one.
    pub token: Option<u64>,
    /// How the holder acquired it.
    pub how: Option<How>,
    /// Since when it is held, as far as that is known.
    pub since: Option<f64>,
    /// When the timeout last started: at the acquisition or the last renewal.
    pub renewed_at: Option<f64>,
    /// When the timeout ends.
    pub expires_at: Option<f64>,
    /// The number of waiters.
    pub waiting: usize,
    /// The first waiters of the queue.
    pub queue: Vec<Place>,
    /// The number of holdings since the lock was first seen.
    pub holdings: u64,
    /// The number of these holdings that were too short to be observed.
    pub missed: u64,
    /// Holdings per second.
    pub a_second: f64,
    /// Whether it changes hands too fast for each holding to be observed.
    pub is_busy: bool,
}

/// The state of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the words of the project")]
pub enum State {
    Free,
    Held,
    Expired,
    Dead,
    Bare,
    Foreign,
}

/// A waiter in the queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The number of its lane, by which a page finds the contender.
    pub lane: u64,
    /// The waiter.
    #[serde(skip)]
    pub who: Contender,
    /// Since when it waits.
    pub since: f64,
}
