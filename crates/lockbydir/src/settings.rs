//! The options of a lock, and their validation: names, timeouts, labels, owners.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockbydir_protocol::{AcquireRequest, Label, MAX_TIMEOUT, MIN_TIMEOUT};

use crate::directory::executor::{Directory, EXTENSION};
use crate::engine::{is_url, shown};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::os;
use crate::os::process;
use crate::os::random::nonce;
use crate::status::printable;
use crate::waiting::{OnWait, Patience};

/// The callback that reports a loss.
pub(crate) type OnLost = Arc<dyn Fn(&Error) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: PathBuf,
    /// The absolute name, since the program may change its directory. `None` for a URL, and if the
    /// current directory could not be determined.
    pub(crate) absolute: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) has_timeout: bool,
    pub(crate) patience: Patience,
    pub(crate) label: String,
    pub(crate) fenced: bool,
    pub(crate) linger: Duration,
    pub(crate) mode: u32,
    pub(crate) group: Option<u32>,
    pub(crate) owner: Owner,
    /// Whether the lock is renewed automatically, if that was chosen.
    pub(crate) renews: Option<bool>,
    pub(crate) on_lost: Option<OnLost>,
    pub(crate) on_wait: Option<OnWait>,
    /// A waiter calls `on_wait` after the first of these durations, then once per the second.
    pub(crate) calls: (Duration, Duration),
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) poll_interval: Duration,
    pub(crate) names_child: bool,
    /// How long the lock stays held from its acquisition on, even if it is released earlier.
    pub(crate) at_least: Duration,
    /// A thread or task that holds the lock may acquire it again.
    pub(crate) reentrant: bool,
    /// Its renewer is joined later than its guard is made.
    pub(crate) begins_renewals_later: bool,
}

/// Whose life a lock depends on, beside its timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// This process: when it dies, the next waiter takes the lock at once.
    #[default]
    ThisProcess,
    /// No process: the lock lasts until it is released or expires.
    Nobody,
    /// The process with this PID.
    Process(u32),
}

impl Settings {
    pub(crate) fn new(name: &Path) -> Settings {
        let name = without_extension(name);
        Settings {
            absolute: if is_url(&name) { None } else { std::path::absolute(&name).ok() },
            name,
            timeout: Duration::from_secs(10),
            has_timeout: false,
            patience: Patience::from(Duration::from_secs(30)),
            label: String::new(),
            fenced: false,
            linger: Duration::ZERO,
            mode: MODE,
            group: None,
            owner: Owner::ThisProcess,
            renews: None,
            on_lost: None,
            on_wait: None,
            calls: (Duration::from_millis(500), Duration::from_millis(100)),
            interrupt: None,
            poll_interval: lockbydir_protocol::PACE,
            names_child: false,
            at_least: Duration::ZERO,
            reentrant: false,
            begins_renewals_later: false,
        }
    }

    /// Returns true if the lock is renewed automatically: by default if no timeout was chosen.
    pub(crate) fn renews(&self) -> bool {
        self.renews.unwrap_or(!self.has_timeout)
    }

    fn path(&self) -> Result<PathBuf, Error> {
        let name = self.name.as_os_str().as_encoded_bytes();
        let shown = || printable(&self.name);
        if name.is_empty() {
            return Err(Error::usage("a lock's name is empty; give it one, like `jobs`"));
        }
        if name.contains(&0) {
            return Err(Error::usage("a lock's name has a NUL byte in it; leave that out"));
        }
        let is_separator = |byte: &u8| std::path::is_separator(char::from(*byte));
        if name.last().is_some_and(is_separator) {
            return Err(Error::usage(format!(
                "a lock's name ends in a slash: `{}`; name the lock after it, or leave the slash out for a lock beside that folder",
                shown()
            )));
        }
        let ends_in_dot = matches!(name, [.., before, b'.'] if is_separator(before));
        let last = self.name.file_name().filter(|_| !ends_in_dot);
        let Some(last) = last else {
            return Err(Error::usage(format!(
                "`{}` is not a lock's name; it ends in dots: name a lock in that folder, like `{}`",
                shown(),
                printable(self.name.join("jobs"))
            )));
        };
        if last == EXTENSION {
            return Err(Error::usage(format!(
                "`{}` is not a lock's name; there is none before its `{EXTENSION}`",
                shown()
            )));
        }
        if last.len() > MAX_LOCK_NAME {
            return Err(Error::usage(format!(
                "a lock's name is too long: {} bytes, at most {MAX_LOCK_NAME}",
                last.len()
            )));
        }
        if let Some(why) = os::refuses_name(last) {
            return Err(Error::usage(format!("`{}` cannot be a lock's name: {why}", shown())));
        }
        let absolute = self.absolute.clone().map_or_else(|| std::path::absolute(&self.name), Ok);
        let mut path =
            absolute.map_err(|source| Error::no_place(&self.name, source))?.into_os_string();
        path.push(OsString::from(EXTENSION));
        Ok(PathBuf::from(path))
    }

    /// Returns the lock directory; the name must not be a URL.
    pub(crate) fn directory(&self) -> Result<Directory, Error> {
        if self.group.is_some() && !os::HAS_GROUPS {
            return Err(Error::usage("a lock directory has no group here; leave the group out"));
        }
        Ok(Directory::new(self.path()?, self.mode, self.group))
    }

    /// Returns an error if an option is set that only a directory has.
    pub(crate) fn check_for_url(&self) -> Result<(), Error> {
        for (is_set, option) in [(self.mode != MODE, "mode"), (self.group.is_some(), "group")] {
            if is_set {
                let shown = shown(&self.name);
                return Err(Error::usage(format!(
                    "`{shown}` is no directory, and only those have a {option}; leave it out"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn checked_timeout(&self) -> Result<Duration, Error> {
        check_timeout(self.timeout)
    }

    pub(crate) fn check_at_least(&self, shared: bool) -> Result<(), Error> {
        match self.at_least {
            Duration::ZERO => Ok(()),
            _ if shared => Err(Error::usage(
                "a reader cannot hold a lock for a least time; leave that time out, or acquire the lock exclusively",
            )),
            too_long if too_long > MAX_TIMEOUT => Err(Error::usage(format!(
                "the least time of a lock is at most ten years, not {too_long:?}"
            ))),
            _ => Ok(()),
        }
    }

    /// Returns what to ask the engine for: an exclusive holding, unless `shared`.
    pub(crate) fn acquire_request(&self, shared: bool) -> Result<AcquireRequest, Error> {
        self.check_at_least(shared)?;
        let label = Label::new(&self.label)
            .map_err(|why| Error::usage(format!("the label cannot be used: {why}")))?;
        Ok(AcquireRequest {
            nonce: nonce(),
            timeout: self.checked_timeout()?,
            fenced: self.fenced,
            shared,
            owner: match self.owner {
                Owner::ThisProcess => lockbydir_protocol::Owner::One(process::here().1),
                Owner::Nobody => lockbydir_protocol::Owner::Nobody,
                Owner::Process(pid) => lockbydir_protocol::Owner::One(living(pid)?),
            },
            host: lockbydir_protocol::Host::new(&process::host()),
            label,
            names_child: self.names_child,
        })
    }
}

/// Removes the `.lockdir` from the end of a name, as a shell completes it: such a name means that
/// lock directory. Only one such ending is removed, so that each existing lock directory has a name
/// of its own.
fn without_extension(name: &Path) -> PathBuf {
    let is_plain = !name.as_os_str().as_encoded_bytes().ends_with(b".");
    let names_directory = name.extension().is_some_and(|end| end == &EXTENSION[1..]);
    if is_plain && names_directory && !is_url(name) {
        name.with_extension("")
    } else {
        name.to_owned()
    }
}

/// Default permissions of a lock directory: only its owner may use it.
const MODE: u32 = 0o700;
/// The longest last part of a lock's name, in bytes. The names of what is created beside the lock
/// directory are longer than it, and must fit in 255 bytes.
const MAX_LOCK_NAME: usize = 220;

pub(crate) fn check_timeout(timeout: Duration) -> Result<Duration, Error> {
    if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) {
        Ok(timeout)
    } else {
        Err(Error::usage(format!("a timeout is between 100 ms and ten years, not {timeout:?}")))
    }
}

/// Returns the process with this PID, if it is alive, to tie a lock to it.
pub(crate) fn living(pid: u32) -> Result<lockbydir_protocol::Process, Error> {
    let found = process::process(pid);
    match process::life(lockbydir_protocol::Owner::One(found)) {
        lockbydir_protocol::Liveness::Alive if os::is_pid(pid) => Ok(found),
        _ => Err(Error::usage(format!("there is no process {pid} to tie the lock to"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_renewed_unless_a_timeout_or_the_opposite_is_chosen() {
        for (has_timeout, chosen, expected) in [
            (false, None, true),
            (true, None, false),
            (false, Some(false), false),
            (true, Some(true), true),
        ] {
            let settings =
                Settings { has_timeout, renews: chosen, ..Settings::new("jobs".as_ref()) };
            assert_eq!(settings.renews(), expected, "{has_timeout} {chosen:?}");
        }
    }
}
