//! Locks under observation that other engines keep: only looks tell of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::FORGET;
use super::event::{Contender, Event, What};
use super::history::{Anomaly, Fate, Hold, LockHistory};
use super::waiting::Waiter;
use crate::engine::shown;
use crate::error::{Error, ErrorKind};
use crate::folder::list;
use crate::lock::Lock;
use crate::os::clock;
use crate::status::{State, Status};

/// How often one looks: each look asks the network.
const LOOK: Duration = Duration::from_millis(500);

/// A folder of locks, or one lock, by its URL.
#[derive(Debug)]
pub(super) struct RemoteObserver {
    url: PathBuf,
    is_folder: bool,
    locks: BTreeMap<PathBuf, Known>,
    next_look: Duration,
    is_away: bool,
}

#[derive(Debug, Default)]
struct Known {
    chronicle: LockHistory,
    /// When it was there last.
    seen_at: Duration,
}

impl RemoteObserver {
    pub(super) fn open(url: PathBuf, is_folder: bool) -> Result<RemoteObserver, Error> {
        let (locks, next_look) = (BTreeMap::new(), Duration::ZERO);
        let mut elsewhere = RemoteObserver { url, is_folder, locks, next_look, is_away: false };
        let seen = elsewhere.seen()?;
        elsewhere.locks.extend(seen.into_iter().map(|status| {
            let mut known = Known::default();
            known.chronicle.was_there();
            (status.path, known)
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
        let seen = self.seen();
        self.next_look = clock::boot() + LOOK;
        let mut told = Vec::new();
        match seen {
            Ok(seen) => {
                if std::mem::take(&mut self.is_away) {
                    told.push(self.event(What::Reachable));
                }
                told.extend(self.compared(&seen));
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                if !std::mem::replace(&mut self.is_away, true) {
                    told.push(self.event(What::Unreachable(error.to_string())));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(told)
    }

    /// Of all that is observed here.
    fn event(&self, what: What) -> Event {
        Event { at: SystemTime::now(), path: shown(&self.url).into(), what }
    }

    /// What happened since the last look, if this is all there is.
    fn compared(&mut self, seen: &[Status]) -> Vec<Event> {
        let now = clock::boot();
        let gone = |path: &PathBuf| seen.iter().all(|status| status.path != *path);
        for (_, known) in self.locks.iter_mut().filter(|(path, _)| gone(path)) {
            looked(&mut known.chronicle, Vec::new(), None, None, now);
        }
        for status in seen {
            let known = self.locks.entry(status.path.clone()).or_default();
            known.seen_at = now;
            let queue = status.queue.iter().map(waiter).collect();
            looked(&mut known.chronicle, queue, hold(status), oddity(status), now);
            known.chronicle.judged(match status.state {
                State::Expired => Fate::Expired,
                State::Dead => Fate::Dead,
                _ => Fate::Lives,
            });
        }
        let at = SystemTime::now();
        let told = self.locks.iter_mut().flat_map(|(path, known)| {
            known.chronicle.told().into_iter().map(|what| Event { at, path: path.clone(), what })
        });
        let told = told.collect();
        self.locks.retain(|_, known| now.saturating_sub(known.seen_at) < FORGET);
        told
    }
}

/// This is all there is of a lock, and who is not in the queue any more has left it before.
fn looked(
    chronicle: &mut LockHistory,
    queue: Vec<Waiter>,
    hold: Option<Hold>,
    oddity: Option<Anomaly>,
    now: Duration,
) {
    // A key that is gone was deleted, or its lease has run out: which, nobody can tell.
    chronicle.stand(&queue, now, |_| false);
    chronicle.saw_all(hold, oddity);
    chronicle.settle(now, Duration::ZERO, |_| Some(now));
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

fn oddity(status: &Status) -> Option<Anomaly> {
    match status.state {
        State::Bare => Some(Anomaly::Bare),
        State::Foreign => Some(Anomaly::Foreign(status.note.clone().unwrap_or_default())),
        _ => None,
    }
}

fn waiter(ticket: &crate::status::Ticket) -> Waiter {
    let who = Contender::in_queue(ticket);
    Waiter { nonce: who.id.into(), who }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_been_there_for_a_minute_is_forgotten() {
        let known = |seen_at: Duration| Known { chronicle: LockHistory::default(), seen_at };
        let now = clock::boot();
        let locks = [("long ago", now.saturating_sub(FORGET)), ("a moment ago", now)];
        let locks = locks.map(|(name, seen_at)| (PathBuf::from(name), known(seen_at)));
        let mut elsewhere = RemoteObserver {
            url: PathBuf::from("etcd://none/"),
            is_folder: true,
            locks: locks.into(),
            next_look: Duration::ZERO,
            is_away: false,
        };

        elsewhere.compared(&[]);

        let left: Vec<_> = elsewhere.locks.into_keys().collect();
        assert_eq!(left, [PathBuf::from("a moment ago")]);
    }
}
