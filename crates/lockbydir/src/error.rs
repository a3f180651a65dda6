//! Errors: each has a message of one sentence for people, and a kind for programs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{Fault, Foreign};

use crate::foreign::{ForeignThing, foreign_reason};
use crate::os::{NAME_TOO_LONG, NOT_PERMITTED, TAKEN, errno_of, is_exhausted, owner_and_mode};
use crate::status::{Holder, people_duration, printable};

/// An error of a lock operation. [`Display`](fmt::Display) is a whole sentence: the verb, the path,
/// the cause, and what to do.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    holder: Option<Holder>,
    lost: Option<LostReason>,
    source: Option<Source>,
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An invalid name, duration, label or key.
    Usage,
    /// The lock stayed taken while patience lasted.
    PatienceOver,
    /// The lock would never have been ours: its holder waits, perhaps through others, for a lock
    /// that this process holds.
    Deadlock,
    /// The lock is no longer ours.
    Lost,
    /// What is at the lock's path is not ours to touch.
    Foreign,
    /// The lock belongs to another user.
    OtherUser,
    /// The system denied permission.
    PermissionDenied,
    /// The lock directory cannot be made there.
    CannotMake,
    /// Any other input or output error.
    Io,
    /// The wait was interrupted by the program itself.
    Interrupted,
    /// The engine that keeps the lock is out of reach, or refuses us.
    Unavailable,
    /// The file system behaves in a way that would let two processes hold a lock.
    Unfit,
}

/// Why a lock was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// Its entry is gone: somebody released it by its key, broke it, or removed its directory.
    Gone,
    /// Another holding has the lock now; [`Error::holder`] says whose, if that is known.
    Taken,
    /// It was not renewed before its deadline, and another try failed too. The entry may still be
    /// there.
    RenewalFailed,
    /// Its timeout is over, and it is not renewed automatically. The entry may still be there.
    Expired,
}

/// Constructors, for [engines](crate::engine).
impl Error {
    /// Creates an error of this kind. The message is a whole sentence: the verb, the path, the
    /// cause, and what to do. Text that others wrote must go through [`printable`] first.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            path: None,
            holder: None,
            lost: None,
            source: None,
        }))
    }

    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Usage, message)
    }

    /// Sets which lock the error is about.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Error {
        self.0.path = Some(path.to_owned());
        self
    }

    /// Sets who holds the lock, if that is known.
    #[must_use]
    pub fn held_by(mut self, holder: impl Into<Option<Holder>>) -> Error {
        self.0.holder = holder.into();
        self
    }

    /// Sets the cause. If the lock is lost for this reason, the loss repeats the cause's text.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Creates the error of a lock that stayed taken while patience lasted; `blocked` says what
    /// blocked it.
    #[must_use]
    pub fn patience_over(
        path: &Path,
        blocked: &str,
        holder: Option<Holder>,
        waited: Duration,
    ) -> Error {
        let message = format!(
            "cannot acquire {}: {blocked}; waited {}",
            printable(path),
            people_duration(waited),
        );
        Error::new(ErrorKind::PatienceOver, message).at(path).held_by(holder)
    }

    /// Creates the error of a waiter whose wait would never end. `others` are the steps from the
    /// holder of `wanted` to somebody who waits for `held`.
    #[cfg(target_os = "linux")]
    pub(crate) fn deadlock(
        path: &Path,
        held: &str,
        wanted: &str,
        others: &str,
        holder: Option<Holder>,
    ) -> Error {
        let advice = match held == wanted {
            true => "release it first, or use a reentrant lock",
            false => "release what you hold and try again; everybody should take them in one order",
        };
        let message = format!(
            "cannot acquire {}: deadlock: you hold {held} and wait for {wanted}{others}; {advice}",
            printable(path)
        );
        Error::new(ErrorKind::Deadlock, message).at(path).held_by(holder)
    }

    /// Creates the error of a lock that is no longer ours; `holder` is who holds it now, if
    /// somebody does.
    #[must_use]
    pub fn lost(path: &Path, holder: Option<Holder>) -> Error {
        let reason = if holder.is_some() { LostReason::Taken } else { LostReason::Gone };
        let now = match &holder {
            Some(holder) => format!("it is now held by {holder}"),
            None => "its entry is gone".into(),
        };
        let message = format!("lost the lock {}: {now}", printable(path));
        Error::new(ErrorKind::Lost, message).at(path).held_by(holder).because(reason)
    }

    fn because(mut self, reason: LostReason) -> Error {
        self.0.lost = Some(reason);
        self
    }

    /// Creates the error of a key that would shorten the holding of another process, which relies
    /// on its present timeout. For [engines](crate::engine).
    #[must_use]
    pub fn shorter(path: &Path, holder: &Holder, timeout: Duration) -> Error {
        let message = format!(
            "cannot shorten {} by its key: {holder} holds it and relies on its timeout of {}; give that or more, let the holder set it, or release it",
            printable(path),
            people_duration(timeout),
        );
        Error::usage(message).at(path).held_by(holder.clone())
    }

    /// Creates the error of an engine that has no shared holdings.
    pub(crate) fn cannot_share(path: Option<&Path>) -> Error {
        let lock =
            path.map_or_else(|| "a lock of this kind".into(), |path| printable(path).to_string());
        let message = format!(
            "{lock} cannot be shared by readers: its engine does not support that; acquire it exclusively"
        );
        let error = Error::usage(message);
        match path {
            Some(path) => error.at(path),
            None => error,
        }
    }

    /// Creates the error of a lock that was released, but whose directory cannot be removed because
    /// of this thing in it.
    pub(crate) fn littered(path: &Path, name: &str) -> Error {
        let message = format!(
            "released {}, but `{name}` in it prevents its removal; remove that by hand",
            printable(path)
        );
        Error::new(ErrorKind::Io, message).at(path)
    }

    /// Creates the error of a thing that a person wants to remove from the directory, but that must
    /// not be removed.
    pub(crate) fn not_removable(path: &Path, thing: &ForeignThing) -> Error {
        let path = path.join(&thing.name);
        let message = format!(
            "will not remove {}: it is no plain file or empty directory, or has changed since it was listed; remove it by hand",
            printable(&path),
        );
        Error::new(ErrorKind::Foreign, message).at(&path)
    }

    /// Creates the error of a lock that could not be renewed before its deadline.
    pub(crate) fn too_late(path: &Path, cause: &str) -> Error {
        let message =
            format!("lost the lock {}: it could not be renewed in time ({cause})", printable(path));
        Error::new(ErrorKind::Lost, message).at(path).because(LostReason::RenewalFailed)
    }

    /// Creates the error of a lock whose fixed timeout ended before its guard.
    pub(crate) fn expired(path: &Path, timeout: Duration) -> Error {
        let message = format!(
            "lost the lock {}: its timeout of {} is over, and others may take it; choose a longer timeout, or renew it automatically",
            printable(path),
            people_duration(timeout)
        );
        Error::new(ErrorKind::Lost, message).at(path).because(LostReason::Expired)
    }

    /// Creates the error of a lock that was acquired, but whose renewer could not be started.
    pub(crate) fn no_renewer(path: &Path, source: io::Error) -> Error {
        let message = format!(
            "cannot acquire {}: no thread can be started to renew it ({source}); it was released again: allow more threads (`ulimit -u`), or choose a fixed timeout without `on_lost`",
            printable(path)
        );
        Error::new(ErrorKind::Io, message).at(path).caused_by(source)
    }

    pub(crate) fn other_user(path: &Path, uid: u32) -> Error {
        let (name, mode) = owner_and_mode(path, uid);
        let name = name.map(|name| format!(" ({})", printable(name))).unwrap_or_default();
        let mode_shown = mode.map(|mode| format!(", with mode {mode:03o}")).unwrap_or_default();
        let why = match mode {
            Some(mode) if mode & 0o022 == 0 => "which is private",
            _ => "who could let two hold the lock",
        };
        let message = format!(
            "will not use {}: unusable: it belongs to user {uid}{name}{mode_shown}, {why}; wait for its release, or share it on purpose: all with a group- or world-writable mode (770, 777)",
            printable(path),
        );
        Error::new(ErrorKind::OtherUser, message).at(path)
    }

    pub(crate) fn foreign(path: &Path, why: &Foreign) -> Error {
        let advice = match why {
            Foreign::Holds(_) => {
                "; move it away, use another name, or see what `lockbydir break --force` can remove"
            }
            Foreign::TwoEntries => "; `lockbydir break --force` removes them",
            _ => "; move it away, or use another name",
        };
        let message =
            format!("will not touch {}: {}{advice}", printable(path), foreign_reason(why));
        Error::new(ErrorKind::Foreign, message).at(path)
    }

    /// Creates the error of a file system whose longest names are shorter than those of what is
    /// created beside the lock directory.
    pub(crate) fn name_too_long(path: &Path, longest: usize, excess: usize) -> Error {
        let message = format!(
            "cannot acquire {}: its file system has no names longer than {longest} bytes, and the files beside it need {}; shorten the lock's name by {excess}",
            printable(path),
            longest + excess,
        );
        Error::new(ErrorKind::CannotMake, message).at(path)
    }

    /// Creates the error of a file system whose longest names are shorter than the lock's entry may
    /// become.
    pub(crate) fn entry_too_long(path: &Path, longest: usize, needed: usize) -> Error {
        let message = format!(
            "cannot acquire {}: its file system has no names longer than {longest} bytes, and the entry of this lock may need {needed}; choose a folder on another file system",
            printable(path),
        );
        Error::new(ErrorKind::CannotMake, message).at(path)
    }

    pub(crate) fn fault(verb: &str, path: &Path, fault: Fault) -> Error {
        let (kind, source, advice) = reason(fault);
        let message = format!("cannot {verb} {}: {source}{advice}", printable(path));
        Error::new(kind, message).at(path).caused_by(source)
    }

    /// Returns why a call failed, and what to do about it.
    pub(crate) fn cause(fault: Fault) -> String {
        let (_, source, advice) = reason(fault);
        format!("{source}{advice}")
    }

    /// Creates the error of a lock directory that is empty but could not be removed, so that nobody
    /// can take the lock.
    pub(crate) fn remains(verb: &str, path: &Path, fault: Fault) -> Error {
        let Fault::Denied { .. } = fault else { return Error::fault(verb, path, fault) };
        let (kind, source, _) = reason(fault);
        let path_shown = printable(path);
        let message = format!(
            "cannot {verb} {path_shown}: {source}; it is empty, and only its owner, the owner of its folder or root may remove it: one of them must run `rmdir {path_shown}`"
        );
        Error::new(kind, message).at(path).caused_by(source)
    }

    pub(crate) fn io(verb: &str, path: &Path, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::Io,
        };
        let message = format!("cannot {verb} {}: {source}", printable(path));
        Error::new(kind, message).at(path).caused_by(source)
    }

    /// Creates the error of a relative name that cannot be resolved.
    pub(crate) fn no_place(name: &Path, source: io::Error) -> Error {
        let message = format!(
            "cannot find the current directory, which the lock's name `{}` is relative to: {source}; give an absolute name",
            printable(name)
        );
        Error::new(ErrorKind::CannotMake, message).caused_by(source)
    }

    /// Returns true if the process has run out of handles or memory.
    pub(crate) fn is_exhaustion(&self) -> bool {
        let source = self.0.source.as_ref().and_then(|source| source.downcast_ref::<io::Error>());
        let errno = source.and_then(errno_of);
        errno.is_some_and(is_exhausted)
    }

    /// No lock is safe on the file system of this folder.
    pub(crate) fn unfit(folder: &Path, why: &str) -> Error {
        let folder_shown = printable(folder);
        let message = format!(
            "will not lock in {folder_shown}: its file system is not safe for locks ({why}); choose another one, and see `lockbydir doctor {folder_shown}`"
        );
        Error::new(ErrorKind::Unfit, message).at(folder)
    }

    /// For the doctor: creates the error of a folder in which no probe can run.
    pub(crate) fn cannot_examine(folder: &Path, fault: Fault) -> Error {
        let (kind, source, advice) = match fault {
            Fault::Missing if folder.is_dir() => {
                (ErrorKind::CannotMake, reason(fault).1, "; nothing can be made there")
            }
            Fault::Missing => (ErrorKind::CannotMake, reason(fault).1, "; make the folder first"),
            Fault::NoPlace { .. } => (ErrorKind::CannotMake, reason(fault).1, "; name a folder"),
            Fault::Denied { .. } => {
                let advice = "; name a folder that you may write in: nothing else can be locked in";
                (ErrorKind::PermissionDenied, reason(fault).1, advice)
            }
            Fault::ReadOnly { .. } => {
                let advice = "; nothing can be locked there: name one that can be written";
                (ErrorKind::CannotMake, reason(fault).1, advice)
            }
            _ => reason(fault),
        };
        let message = format!("cannot examine {}: {source}{advice}", printable(folder));
        Error::new(kind, message).at(folder).caused_by(source)
    }

    /// For the doctor: creates the error of a peer that does not answer.
    pub(crate) fn silent(folder: &Path, what: String) -> Error {
        let message = format!(
            "cannot examine {}: the peer stopped answering (asked to {what}); it ended, or its changes are not visible here",
            printable(folder)
        );
        Error::new(ErrorKind::Io, message).at(folder)
    }

    /// For the doctor: creates the error of an examination that was ended early.
    pub(crate) fn ended(folder: &Path) -> Error {
        let message = format!("the examination of {} was interrupted", printable(folder));
        Error::new(ErrorKind::Interrupted, message).at(folder)
    }

    /// For the doctor: creates the error of a meeting without a peer on another host.
    pub(crate) fn no_peer(folder: &Path, waited: Duration, other_user: Option<u32>) -> Error {
        let why = match other_user {
            Some(user) => format!("a peer waits there as user {user}; run both as the same user"),
            None => "no peer appeared; run `lockbydir doctor --peer` on the other host in the same folder at the same time".into(),
        };
        let message = format!(
            "cannot examine {} between two hosts: {why}; waited {}",
            printable(folder),
            people_duration(waited)
        );
        Error::new(ErrorKind::PatienceOver, message).at(folder)
    }

    /// Returns the kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the lock directory that the error is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Returns who holds the lock, if that is known.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        self.0.holder.as_ref()
    }

    /// Returns the system's error number, if there was one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_ref()?.downcast_ref::<io::Error>()?.raw_os_error()
    }

    /// Returns true if the lock stayed taken while patience lasted.
    #[must_use]
    pub fn is_patience_over(&self) -> bool {
        self.kind() == ErrorKind::PatienceOver
    }

    /// Returns true if the lock's holder waits, perhaps through others, for a lock that this process
    /// holds. Found on Linux only.
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        self.kind() == ErrorKind::Deadlock
    }

    /// Returns true if the lock is no longer ours.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.kind() == ErrorKind::Lost
    }

    /// Returns why the lock was lost; `None` unless the error [is about a loss](Error::is_lost).
    #[must_use]
    pub fn lost_reason(&self) -> Option<LostReason> {
        self.0.lost
    }

    /// Returns true if the thing at the lock's path is not ours to touch.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.kind() == ErrorKind::Foreign
    }

    /// Returns true if the file system is one on which no lock is safe. [`doctor`](crate::doctor)
    /// says why.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        self.kind() == ErrorKind::Unfit
    }
}

/// Returns what a fault means to the caller: its kind, the system's error, and what to do.
fn reason(fault: Fault) -> (ErrorKind, io::Error, &'static str) {
    let (kind, code, advice) = match fault {
        Fault::Missing => (ErrorKind::Io, 2, ""),
        Fault::Taken => (ErrorKind::Io, TAKEN, ""),
        Fault::NoPlace { code: code @ NAME_TOO_LONG } => {
            (ErrorKind::CannotMake, code, "; choose a shorter name, or another file system")
        }
        Fault::NoPlace { code } => (ErrorKind::CannotMake, code, "; its parent folder must exist"),
        Fault::Denied { code: code @ NOT_PERMITTED } => {
            let advice = "; if its folder is sticky, only its owner may remove or rename it: ask them, or use a folder without the sticky bit";
            (ErrorKind::PermissionDenied, code, advice)
        }
        Fault::Denied { code } => {
            let advice = "; it needs write permission in its folder, and search permission in all folders above";
            (ErrorKind::PermissionDenied, code, advice)
        }
        Fault::Full { code } => {
            let is_of_space = matches!(
                io::Error::from_raw_os_error(code).kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            (
                ErrorKind::Io,
                code,
                if is_of_space { "; free some space" } else { "; it may be temporary: try again" },
            )
        }
        Fault::ReadOnly { code } => {
            (ErrorKind::CannotMake, code, "; choose a folder that can be written")
        }
        Fault::Broken { code } => (ErrorKind::Io, code, ""),
    };
    (kind, io::Error::from_raw_os_error(code), advice)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A `main` that returns an error prints its `Debug` text.
        write!(f, "{} ({:?})", self.0.message, self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}
