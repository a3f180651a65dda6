//! A lock as it is now.

use serde::Serialize;

use crate::event::{Contender, How};

/// A lock as it is now. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// What it is called.
    pub lock: String,
    /// How it is.
    pub state: State,
    /// Why nobody can have it, if it is foreign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who holds it, or held it last if it expired or died.
    pub holder: Option<Contender>,
    /// The number of this holding, or of the last one.
    pub token: Option<u64>,
    /// How it was got.
    pub how: Option<How>,
    /// Since when it is held, as far as it was seen.
    pub since: Option<f64>,
    /// When its time began last.
    pub renewed_at: Option<f64>,
    /// When its time is over.
    pub expires_at: Option<f64>,
    /// How many wait.
    pub waiting: usize,
    /// The first of them.
    pub line: Vec<Place>,
    /// How many holdings there were since it was seen first.
    pub holdings: u64,
    /// How many of them were too fast to be seen.
    pub missed: u64,
    /// Holdings a second.
    pub a_second: f64,
    /// It changes hands too fast to be seen each time.
    pub is_busy: bool,
}

/// How a lock is.
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

/// Somebody in the queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The number of its lane, where a page finds who it is.
    pub lane: u64,
    /// Who.
    #[serde(skip)]
    pub who: Contender,
    /// Since when.
    pub since: f64,
}
