//! Locks under observation that other engines keep: only looks tell of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::chronicle::{Chronicle, Fate, Hold, Oddity, Waiter};
use super::event::{Contender, Event};
use crate::clock;
use crate::error::Error;
use crate::folder::list;
use crate::lock::Lock;
use crate::status::{State, Status};

/// How often one looks: each look asks the network.
const LOOK: Duration = Duration::from_millis(500);

/// A folder of locks, or one lock, by its URL.
#[derive(Debug)]
pub(super) struct Elsewhere {
    url: PathBuf,
    is_folder: bool,
    locks: BTreeMap<PathBuf, Chronicle>,
    next_look: Duration,
}

impl Elsewhere {
    pub(super) fn open(url: PathBuf, is_folder: bool) -> Result<Elsewhere, Error> {
        let (locks, next_look) = (BTreeMap::new(), Duration::ZERO);
        let mut elsewhere = Elsewhere { url, is_folder, locks, next_look };
        let seen = elsewhere.seen()?;
        elsewhere.locks.extend(seen.iter().map(|status| {
            let mut chronicle = Chronicle::default();
            chronicle.was_there();
            (status.path.clone(), chronicle)
        }));
        Ok(elsewhere)
    }

    fn seen(&self) -> Result<Vec<Status>, Error> {
        match self.is_folder {
            true => list(&self.url),
            false => Ok(vec![Lock::new(&self.url).status()?]),
        }
    }

    /// When it wants to look again.
    pub(super) fn next_look(&self) -> Duration {
        self.next_look
    }

    /// Looks, if it is time.
    pub(super) fn look(&mut self) -> Result<Vec<Event>, Error> {
        if clock::boot() < self.next_look {
            return Ok(Vec::new());
        }
        let (seen, now) = (self.seen()?, clock::boot());
        let gone = |path: &PathBuf| seen.iter().all(|status| status.path != *path);
        for (_, chronicle) in self.locks.iter_mut().filter(|(path, _)| gone(path)) {
            looked(chronicle, Vec::new(), None, None, now);
        }
        for status in &seen {
            let chronicle = self.locks.entry(status.path.clone()).or_default();
            let line = status.line.iter().map(waiter).collect();
            looked(chronicle, line, hold(status), oddity(status), now);
            chronicle.judged(match status.state {
                State::Lapsed => Fate::Lapsed,
                State::Dead => Fate::Dead,
                _ => Fate::Lives,
            });
        }
        self.next_look = clock::boot() + LOOK;
        let at = SystemTime::now();
        let told = self.locks.iter_mut().flat_map(|(path, chronicle)| {
            chronicle.told().into_iter().map(|what| Event { at, path: path.clone(), what })
        });
        Ok(told.collect())
    }
}

/// This is all there is of a lock, and who is not in line any more has left it before.
fn looked(
    chronicle: &mut Chronicle,
    line: Vec<Waiter>,
    hold: Option<Hold>,
    oddity: Option<Oddity>,
    now: Duration,
) {
    chronicle.stand(line, now, |_| true);
    chronicle.saw_all(hold, oddity);
    chronicle.settle(now);
}

fn hold(status: &Status) -> Option<Hold> {
    let token = status.token.unwrap_or(0);
    Some(Hold {
        by: Contender::of(status)?,
        token,
        nonce: token.into(),
        changes: None,
        timeout: status.timeout.unwrap_or_default(),
        remaining: status.remaining.unwrap_or_default(),
        age: status.age.unwrap_or_default(),
        is_open: matches!(status.state, State::Open | State::Free),
    })
}

fn oddity(status: &Status) -> Option<Oddity> {
    match status.state {
        State::Bare => Some(Oddity::Bare),
        State::Foreign => Some(Oddity::Foreign(status.note.clone().unwrap_or_default())),
        _ => None,
    }
}

fn waiter(ticket: &crate::status::Ticket) -> Waiter {
    let who = Contender::in_line(ticket);
    Waiter { nonce: who.id.into(), who }
}
