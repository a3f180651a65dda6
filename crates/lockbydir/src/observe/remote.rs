//! Observed locks that other engines keep, which are found only by looking.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::event::{Contender, Event, What};
use super::history::{Anomaly, FORGET_AFTER, Fate, Hold, LockHistory};
use super::waiting::Waiter;
use crate::engine::shown;
use crate::error::{Error, ErrorKind};
use crate::folder::list;
use crate::lock::Lock;
use crate::os::clock;
use crate::status::{State, Status};

/// How often the observer looks: each look is a network request.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A folder of locks, or one lock, by its URL.
#[derive(Debug)]
pub(super) struct RemoteObserver {
    url: PathBuf,
    is_folder: bool,
    locks: BTreeMap<PathBuf, Known>,
    next_look: Duration,
    is_unreachable: bool,
}

#[derive(Debug, Default)]
struct Known {
    history: LockHistory,
    /// When it was last seen.
    seen_at: Duration,
}

impl RemoteObserver {
    pub(super) fn open(url: PathBuf, is_folder: bool) -> Result<RemoteObserver, Error> {
        let (locks, next_look) = (BTreeMap::new(), Duration::ZERO);
        let mut observer =
            RemoteObserver { url, is_folder, locks, next_look, is_unreachable: false };
        let seen = observer.seen()?;
        observer.locks.extend(seen.into_iter().map(|status| {
            let mut known = Known::default();
            known.history.was_there();
            (status.path, known)
        }));
        Ok(observer)
    }

    fn seen(&self) -> Result<Vec<Status>, Error> {
        match self.is_folder {
            true => list(&self.url),
            false => Ok(vec![Lock::new(&self.url).status()?]),
        }
    }

    /// Returns when the next look is due.
    pub(super) fn next_look(&self) -> Duration {
        self.next_look
    }

    /// Looks, if a look is due.
    pub(super) fn look(&mut self) -> Result<Vec<Event>, Error> {
        if clock::boot() < self.next_look {
            return Ok(Vec::new());
        }
        let seen = self.seen();
        self.next_look = clock::boot() + LOOK_INTERVAL;
        let mut events = Vec::new();
        match seen {
            Ok(seen) => {
                if std::mem::take(&mut self.is_unreachable) {
                    events.push(self.event(What::Reachable));
                }
                events.extend(self.compared(&seen));
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                if !std::mem::replace(&mut self.is_unreachable, true) {
                    events.push(self.event(What::Unreachable(error.to_string())));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(events)
    }

    /// Returns an event that concerns everything observed here.
    fn event(&self, what: What) -> Event {
        Event { at: SystemTime::now(), path: shown(&self.url).into(), what }
    }

    /// Returns what has happened since the last look, given all locks that exist now.
    fn compared(&mut self, seen: &[Status]) -> Vec<Event> {
        let now = clock::boot();
        let gone = |path: &PathBuf| seen.iter().all(|status| status.path != *path);
        for (_, known) in self.locks.iter_mut().filter(|(path, _)| gone(path)) {
            looked(&mut known.history, Vec::new(), None, None, now);
        }
        for status in seen {
            let known = self.locks.entry(status.path.clone()).or_default();
            known.seen_at = now;
            let queue = status.queue.iter().map(waiter).collect();
            looked(&mut known.history, queue, hold(status), anomaly(status), now);
            known.history.judged(match status.state {
                State::Expired => Fate::Expired,
                State::Dead => Fate::Dead,
                _ => Fate::Lives,
            });
        }
        let at = SystemTime::now();
        let events = self.locks.iter_mut().flat_map(|(path, known)| {
            known.history.take_events().into_iter().map(|what| Event {
                at,
                path: path.clone(),
                what,
            })
        });
        let events = events.collect();
        self.locks.retain(|_, known| now.saturating_sub(known.seen_at) < FORGET_AFTER);
        events
    }
}

/// Records a look: this is the whole state of a lock, and a waiter that is not in the queue any
/// more has left it before.
fn looked(
    history: &mut LockHistory,
    queue: Vec<Waiter>,
    hold: Option<Hold>,
    anomaly: Option<Anomaly>,
    now: Duration,
) {
    // A key that is gone was deleted, or its lease expired: the two cannot be distinguished.
    history.saw_queue(&queue, now, |_| false);
    history.saw_all(hold, anomaly);
    history.settle(now, Duration::ZERO, |_| Some(now));
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

fn anomaly(status: &Status) -> Option<Anomaly> {
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
    fn absent_locks_are_forgotten_after_a_minute() {
        let known = |seen_at: Duration| Known { history: LockHistory::default(), seen_at };
        let now = clock::boot();
        let locks = [("long ago", now.saturating_sub(FORGET_AFTER)), ("a moment ago", now)];
        let locks = locks.map(|(name, seen_at)| (PathBuf::from(name), known(seen_at)));
        let mut observer = RemoteObserver {
            url: PathBuf::from("etcd://none/"),
            is_folder: true,
            locks: locks.into(),
            next_look: Duration::ZERO,
            is_unreachable: false,
        };

        observer.compared(&[]);

        let left: Vec<_> = observer.locks.into_keys().collect();
        assert_eq!(left, [PathBuf::from("a moment ago")]);
    }
}
