//! The states of a lock before a verb that is crashed or stopped.

use std::time::Duration;

use lockbydir::{Lock, Owner};
use lockbydir_proof::scripted_worker::ScriptedWorker;

use crate::stage::{Stage, make_expired, make_old_bare};

/// The timeout of the victim and of a holder that has expired or will soon.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(100);

/// The state of the lock before the victim's verb.
#[derive(Clone, Copy)]
pub(crate) enum Before {
    Nothing,
    Expired,
    Dead,
    /// An old directory without an entry.
    Bare,
    /// Kept open for its number.
    Open,
    /// Held by another for most of the timeout, while the victim queues.
    SoonExpired,
    HeldByAnother,
    /// Its holding expires soon.
    HeldByTheVictim,
    /// The victim released it a moment ago, and it may linger.
    LeftByTheVictim,
}

impl Before {
    /// Puts the lock of this name into this state. Returns the victim, with these options besides its
    /// timeout, ready for its verb.
    pub(crate) fn prepare(self, stage: &Stage, name: &str, more: &str) -> ScriptedWorker {
        match self {
            Before::Nothing | Before::HeldByTheVictim | Before::LeftByTheVictim => {}
            Before::Expired => make_expired(&[stage.path(name)]),
            Before::Dead => {
                stage.worker(name, &format!("timeout_ms=30000 {more}")).hold("acquire");
            }
            Before::Bare => make_old_bare(&stage.directory(name)),
            Before::Open => {
                let guard = Lock::new(stage.path(name)).fenced(true).acquire().expect("a holder");
                guard.release().expect("its release");
            }
            Before::HeldByAnother | Before::SoonExpired => {
                let lock = Lock::new(stage.path(name)).timeout(TIMEOUT).owner(Owner::Nobody);
                let _key = lock.acquire().expect("a holder").keep();
            }
        }
        let options = format!("timeout_ms={} patience_ms=2000 {more}", TIMEOUT.as_millis());
        let mut victim = stage.worker(name, &options);
        if matches!(self, Before::HeldByTheVictim | Before::LeftByTheVictim) {
            victim.hold("acquire");
        }
        if matches!(self, Before::LeftByTheVictim) {
            assert_eq!(victim.ask("release"), "ok");
        }
        victim
    }
}
