//! Nested use: a command that asks for a lock under which it already runs.

use std::path::Path;
use std::thread;
use std::time::Duration;

use lockbydir::engine::{boot, margin};
use lockbydir::{Error, Key, Lock, State, Status, printable};

use crate::exit::{Failure, LOST, PATIENCE_OVER};
use crate::held;

/// Limits how long a holding that has reached its timeout may still be renewed, where the command stands
/// still meanwhile: after a suspend its holder and this process wake up in any order.
const LATE: Duration = Duration::from_secs(1);
/// The pause between two looks at such a holding.
const LATE_PAUSE: Duration = Duration::from_millis(20);

/// A holding that is not of this process: it is watched, and neither renewed nor released.
pub(crate) struct Outer {
    lock: Lock,
    key: Key,
    timeout: Duration,
    /// Until when it is held for certain, on the boot clock.
    deadline: Duration,
    looked: Duration,
    is_lost: bool,
}

impl Outer {
    /// Returns the holding of this key, if it is held.
    fn of(lock: Lock, key: Key) -> Result<Option<(Outer, Status)>, Error> {
        let mut outer = Outer {
            lock,
            key,
            timeout: Duration::ZERO,
            deadline: Duration::ZERO,
            looked: Duration::ZERO,
            is_lost: false,
        };
        let status = outer.look()?.filter(|_| !outer.remaining().is_zero());
        Ok(status.map(|status| (outer, status)))
    }

    /// Looks at the lock. After an error the deadline known so far counts.
    fn look(&mut self) -> Result<Option<Status>, Error> {
        let begun = boot();
        self.looked = begun;
        let found = self.lock.status_of(&self.key)?;
        self.is_lost = found.is_none();
        let Some(status) = found else { return Ok(None) };
        self.timeout = status.timeout.unwrap_or_default();
        self.deadline = match status.state {
            State::Held => {
                let rest = status.remaining.unwrap_or_default();
                begun + rest.saturating_sub(margin(self.timeout))
            }
            _ => begun,
        };
        Ok(Some(status))
    }

    /// Looks at the lock if that is due; returns true if the holding has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        if boot().saturating_sub(self.looked) >= self.timeout / 10 {
            let _ = self.look();
        }
        self.is_lost
    }

    /// Waits a little for a late renewal; returns true if there was one.
    pub(crate) fn is_renewed_late(&mut self) -> bool {
        let until = boot() + LATE;
        loop {
            let _ = self.look();
            if !self.remaining().is_zero() {
                return true;
            }
            if self.is_lost || boot() >= until {
                return false;
            }
            thread::sleep(LATE_PAUSE);
        }
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_sub(boot())
    }

    pub(crate) fn path(&self) -> String {
        self.lock.path().map(printable).unwrap_or_default()
    }

    /// Returns the failure if the holding has ended while the command ran.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let _ = self.look();
        match self.is_lost {
            true => Err(Failure::new(LOST, self.lost())),
            false => Ok(()),
        }
    }

    pub(crate) fn lost(&self) -> String {
        format!("lost the lock {}: the holding that this command ran under has ended", self.path())
    }
}

/// Returns the holding that a nested `run` runs under. With a key, it is the holding of that key;
/// otherwise that of an ancestor, if one still holds the lock.
pub(crate) fn outer(lock: &Lock, name: &Path, key: Option<&str>) -> Result<Option<Outer>, Failure> {
    match key {
        None => Ok(of_ancestor(lock, name).map(|(outer, _)| outer)),
        Some(key) => {
            // An error of the look is reported, rather than taken for a loss.
            match Outer::of(lock.clone(), key.parse()?)? {
                Some((outer, _)) => Ok(Some(outer)),
                None => {
                    let path = lock.path().map(printable)?;
                    let message = format!("the key no longer holds {path}; acquire it anew");
                    Err(Failure::new(LOST, message))
                }
            }
        }
    }
}

/// Fails if an ancestor of this process holds the lock: it would wait for this process, which would wait
/// for the lock.
pub(crate) fn refuse(lock: &Lock, name: &Path) -> Result<(), Failure> {
    let Some((outer, status)) = of_ancestor(lock, name) else { return Ok(()) };
    let holder = status.holder.map(|holder| holder.to_string()).unwrap_or_default();
    let message = format!(
        "cannot acquire {}: this command already runs under it, held by {holder}, and would wait for itself; use `lockbydir run --nested`, which runs under the same holding",
        outer.path()
    );
    Err(Failure::new(PATIENCE_OVER, message))
}

fn of_ancestor(lock: &Lock, name: &Path) -> Option<(Outer, Status)> {
    Outer::of(lock.clone(), held::key_of(name)?).ok()?
}
