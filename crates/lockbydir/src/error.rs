//! Errors: each one sentence for people, with a kind for programs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{Fault, Foreign};

use crate::foreign::ForeignThing;
use crate::os::{NAME_TOO_LONG, NOT_PERMITTED, TAKEN, errno_of, is_exhausted, owner_and_mode};
use crate::status::{Holder, people_duration, printable};

/// What went wrong with a lock. [`Display`](fmt::Display) is a whole sentence: the verb, the
/// path, the cause, and what to do.
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

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name, duration, label or key that cannot be.
    Usage,
    /// The lock stayed taken while patience lasted.
    PatienceOver,
    /// The lock is ours no more.
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
    /// The engine that keeps the lock is out of reach, or does not take us.
    Unavailable,
    /// The file system does what would let two hold a lock.
    Unfit,
}

/// Why a lock was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// Its entry is gone: somebody released it by its key, broke it or removed its directory.
    Gone,
    /// Another holding has the lock now; [`Error::holder`] says whose, where that is known.
    Taken,
    /// It was not renewed before its deadline, and trying again did not succeed either. The entry
    /// may still be there.
    RenewalFailed,
}

/// For [engines](crate::engine): how errors are made.
impl Error {
    /// One of this kind. The message is a whole sentence: the verb, the path, the cause, and what
    /// to do; what others wrote is in it by [`printable`] only.
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

    /// Which lock it is about.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Error {
        self.0.path = Some(path.to_owned());
        self
    }

    /// Who holds the lock, if it is known.
    #[must_use]
    pub fn held_by(mut self, holder: impl Into<Option<Holder>>) -> Error {
        self.0.holder = holder.into();
        self
    }

    /// What caused it. Its text is told again when the lock is lost for this.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// The lock stayed taken while patience lasted; `blocked` says by what.
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

    /// The lock is ours no more; who holds it now, where somebody does.
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

    /// For [engines](crate::engine): a key cannot shorten the holding of another process, which
    /// relies on the timeout that it has.
    #[must_use]
    pub fn shorter(path: &Path, holder: &Holder, timeout: Duration) -> Error {
        let message = format!(
            "cannot shorten {} by its key: {holder} holds it and relies on its timeout of {}; give that or more, let the holder set it, or release it",
            printable(path),
            people_duration(timeout),
        );
        Error::usage(message).at(path).held_by(holder.clone())
    }

    /// It was released, but this thing in it keeps it from vanishing.
    pub(crate) fn littered(path: &Path, name: &str) -> Error {
        let message = format!(
            "released {}, but `{name}` in it keeps it from vanishing; remove that by hand",
            printable(path)
        );
        Error::new(ErrorKind::Io, message).at(path)
    }

    /// What a person wants to have removed from it is not what is removed.
    pub(crate) fn not_removable(path: &Path, thing: &ForeignThing) -> Error {
        let path = path.join(&thing.name);
        let message = format!(
            "will not remove {}: it is no plain file or empty directory, or has changed since it was listed; remove it by hand",
            printable(&path),
        );
        Error::new(ErrorKind::Foreign, message).at(&path)
    }

    /// It could not be renewed before its deadline.
    pub(crate) fn too_late(path: &Path, cause: &str) -> Error {
        let message =
            format!("lost the lock {}: it could not be renewed in time ({cause})", printable(path));
        Error::new(ErrorKind::Lost, message).at(path).because(LostReason::RenewalFailed)
    }

    /// It was acquired, but nobody would have renewed it.
    pub(crate) fn no_renewer(path: &Path, source: io::Error) -> Error {
        let message = format!(
            "cannot acquire {}: no thread can be started to renew it ({source}); it was released again: allow more threads (`ulimit -u`), or hold it without automatic renewal",
            printable(path)
        );
        Error::new(ErrorKind::Io, message).at(path).caused_by(source)
    }

    pub(crate) fn stranger(path: &Path, uid: u32) -> Error {
        let (name, mode) = owner_and_mode(path, uid);
        let name = name.map(|name| format!(" ({})", printable(name))).unwrap_or_default();
        let mode_shown = mode.map(|mode| format!(", with mode {mode:03o}")).unwrap_or_default();
        let why = match mode {
            Some(mode) if mode & 0o022 == 0 => "which is private",
            _ => "who could give the lock to two",
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

    /// The file system has no names as long as what is made beside the lock directory.
    pub(crate) fn name_too_long(path: &Path, longest: usize, excess: usize) -> Error {
        let message = format!(
            "cannot acquire {}: its file system has no names longer than {longest} bytes, and what is made beside it needs {}; take {excess} off the lock's name",
            printable(path),
            longest + excess,
        );
        Error::new(ErrorKind::CannotMake, message).at(path)
    }

    /// The file system has no names as long as the lock's entry may become.
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

    /// Why a call failed, and what to do about it.
    pub(crate) fn cause(fault: Fault) -> String {
        let (_, source, advice) = reason(fault);
        format!("{source}{advice}")
    }

    /// D is empty and could not be removed: it keeps everybody out.
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

    /// A relative name has no place.
    pub(crate) fn no_place(name: &Path, source: io::Error) -> Error {
        let message = format!(
            "cannot find the current directory, which the lock's name `{}` is relative to: {source}; give an absolute name",
            printable(name)
        );
        Error::new(ErrorKind::CannotMake, message).caused_by(source)
    }

    /// Are there no more handles, or is there no memory?
    pub(crate) fn is_exhaustion(&self) -> bool {
        let source = self.0.source.as_ref().and_then(|source| source.downcast_ref::<io::Error>());
        let errno = source.and_then(errno_of);
        errno.is_some_and(is_exhausted)
    }

    /// No lock is safe on the file system of this folder.
    pub(crate) fn unfit(folder: &Path, why: &str) -> Error {
        let folder_shown = printable(folder);
        let message = format!(
            "will not lock in {folder_shown}: its file system is unfit for locks ({why}); choose another one, and see `lockbydir doctor {folder_shown}`"
        );
        Error::new(ErrorKind::Unfit, message).at(folder)
    }

    /// For the doctor: nothing can be tried there.
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

    /// For the doctor: the other one does not answer.
    pub(crate) fn silent(folder: &Path, what: String) -> Error {
        let message = format!(
            "cannot examine {}: the other one fell silent, asked to {what}; it has ended, or what it does is not seen here",
            printable(folder)
        );
        Error::new(ErrorKind::Io, message).at(folder)
    }

    /// For the doctor: it was ended early.
    pub(crate) fn ended(folder: &Path) -> Error {
        let message = format!("the examination of {} was interrupted", printable(folder));
        Error::new(ErrorKind::Interrupted, message).at(folder)
    }

    /// For the doctor: there was no other one to meet.
    pub(crate) fn nobody_came(folder: &Path, waited: Duration, stranger: Option<u32>) -> Error {
        let why = match stranger {
            Some(user) => format!("somebody waits there as user {user}; run both as one user"),
            None => "nobody came; run `lockbydir doctor --peer` on the other host in the same folder at the same time".into(),
        };
        let message = format!(
            "cannot examine {} between two hosts: {why}; waited {}",
            printable(folder),
            people_duration(waited)
        );
        Error::new(ErrorKind::PatienceOver, message).at(folder)
    }

    /// The kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The lock directory it is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Who holds the lock, where that is known.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        self.0.holder.as_ref()
    }

    /// The system's error number, where there was one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_ref()?.downcast_ref::<io::Error>()?.raw_os_error()
    }

    /// Did the lock stay taken while patience lasted?
    #[must_use]
    pub fn is_patience_over(&self) -> bool {
        self.kind() == ErrorKind::PatienceOver
    }

    /// Is the lock ours no more?
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.kind() == ErrorKind::Lost
    }

    /// Why the lock was lost; `None` unless the error [is about a loss](Error::is_lost).
    #[must_use]
    pub fn lost_reason(&self) -> Option<LostReason> {
        self.0.lost
    }

    /// Is the thing at the lock's path not ours to touch?
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.kind() == ErrorKind::Foreign
    }

    /// Is the file system one on which no lock is safe? [`doctor`](crate::doctor) says why.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        self.kind() == ErrorKind::Unfit
    }
}

/// What a fault is to the caller: its kind, the system's words, and what to do.
fn reason(fault: Fault) -> (ErrorKind, io::Error, &'static str) {
    let (kind, code, advice) = match fault {
        Fault::Missing => (ErrorKind::Io, 2, ""),
        Fault::Taken => (ErrorKind::Io, TAKEN, ""),
        Fault::NoPlace { code: code @ NAME_TOO_LONG } => {
            (ErrorKind::CannotMake, code, "; choose a shorter name, or another file system")
        }
        Fault::NoPlace { code } => {
            (ErrorKind::CannotMake, code, "; the folder it shall be in must exist")
        }
        Fault::Denied { code: code @ NOT_PERMITTED } => {
            let advice = "; if its folder is sticky, only its owner may remove or rename it: ask them, or use a folder without the sticky bit";
            (ErrorKind::PermissionDenied, code, advice)
        }
        Fault::Denied { code } => {
            let advice =
                "; one must be able to write to its folder, and to enter all folders above";
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
                if is_of_space { "; make room" } else { "; it may pass: try again" },
            )
        }
        Fault::ReadOnly { code } => {
            (ErrorKind::CannotMake, code, "; choose a folder that can be written")
        }
        Fault::Broken { code } => (ErrorKind::Io, code, ""),
    };
    (kind, io::Error::from_raw_os_error(code), advice)
}

/// Why the directory of another user is foreign, for people.
pub(crate) fn stranger_reason(uid: u32) -> String {
    format!("unusable: it belongs to user {uid}")
}

/// Why a thing is foreign, for people.
pub(crate) fn foreign_reason(why: &Foreign) -> String {
    match why {
        Foreign::Symlink => "it is a symbolic link, which is never followed".into(),
        Foreign::NotADirectory => "it is not a directory".into(),
        Foreign::Holds(name) => format!("it holds `{name}`, which is not ours"),
        Foreign::TwoEntries => "it holds two entries at once".into(),
        Foreign::TooMany => "it holds more than a lock directory ever does".into(),
        Foreign::Exhausted => "its token has reached the largest value".into(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // This is what a `main` that returns it shows.
        write!(f, "{} ({:?})", self.0.message, self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}
