//! `--contain`: the supervisor is the first process of a PID namespace, so that the kernel itself ends
//! all that the command has started, whatever it is, when the supervisor ends. Without privileges this
//! needs a user namespace, too. A mount namespace has the `/proc` of the new PIDs.
//!
//! It runs between fork and exec, so it makes system calls only.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, write};
use rustix::process::{Pid, getegid, geteuid, getpid};

use super::orders::Report;
use super::tree::wait_for;
use super::{raw, tree};
use crate::exit::{Failure, USAGE};

/// The texts that a process needs to enter a namespace, made before the fork.
pub(super) struct Containment {
    users: String,
    groups: String,
}

/// The side of the namespace that a process is on after [`Containment::enter`].
pub(super) enum Side {
    /// Outside, as before. The process has done its part.
    Outside,
    /// The first process within; with its PID outside.
    Within(Pid),
}

/// The step that the kernel refused, and the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    step: Step,
    errno: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Namespace,
    Users,
    Process,
    SeeProc,
    MountProc,
}

/// The steps in the order of their numbers in a report.
const STEPS: [Step; 5] =
    [Step::Namespace, Step::Users, Step::Process, Step::SeeProc, Step::MountProc];
/// An upper bound of the kernel's error numbers.
const ERRORS: i32 = 4096;

impl Containment {
    pub(super) fn new() -> Containment {
        let same = |id: u32| format!("{id} {id} 1");
        Containment { users: same(geteuid().as_raw()), groups: same(getegid().as_raw()) }
    }

    /// Makes the first process of a new PID namespace, as a child of this process's parent.
    pub(super) fn enter(&self) -> Result<Side, Refused> {
        match raw::unshare(raw::PIDS_AND_MOUNTS) {
            Err(errno) if errno == Errno::PERM.raw_os_error() => {
                let all = raw::PIDS_AND_MOUNTS | raw::USERS;
                raw::unshare(all).map_err(Step::Namespace.refused())?;
                self.map_ids().map_err(|errno| Step::Users.refused()(errno.raw_os_error()))?;
            }
            done => done.map_err(Step::Namespace.refused())?,
        }
        if raw::fork_sibling().map_err(Step::Process.refused())?.is_some() {
            return Ok(Side::Outside);
        }
        // This is still the caller's /proc, with the number of this process there.
        let outside = tree::number_in_proc();
        let outside =
            outside.ok_or(Errno::NOENT.raw_os_error()).map_err(Step::SeeProc.refused())?;
        raw::mount_proc().map_err(Step::MountProc.refused())?;
        match getpid() == Pid::INIT && tree::is_ours() {
            true => Ok(Side::Within(outside)),
            false => Err(Step::MountProc.refused()(Errno::SRCH.raw_os_error())),
        }
    }

    /// Maps the user and the group to themselves within; there are no others.
    fn map_ids(&self) -> Result<(), Errno> {
        // Without this the process could leave a group whose members are denied access.
        put(c"/proc/self/setgroups", "deny")?;
        put(c"/proc/self/uid_map", &self.users)?;
        put(c"/proc/self/gid_map", &self.groups)
    }
}

fn put(file: &std::ffi::CStr, text: &str) -> Result<(), Errno> {
    let file = openat(CWD, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(&file, text.as_bytes()).map(drop)
}

impl Step {
    fn refused(self) -> impl Fn(i32) -> Refused {
        move |errno| Refused { step: self, errno }
    }
}

impl Refused {
    pub(super) fn number(self) -> i32 {
        self.step as i32 * ERRORS + self.errno
    }

    pub(super) fn of(number: i32) -> Option<Refused> {
        let step = *STEPS.get(usize::try_from(number / ERRORS).ok()?)?;
        Some(Refused { step, errno: number % ERRORS })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { step, errno } = *self;
        let what = match step {
            Step::Namespace => "make a PID namespace",
            Step::Users => "map its user into a user namespace",
            Step::Process => "start a process in a PID namespace",
            Step::SeeProc => "find itself in /proc",
            Step::MountProc => "mount a /proc of its own",
        };
        let error = io::Error::from_raw_os_error(errno);
        write!(f, "--contain is not possible here: cannot {what}: {error}; ")?;
        let advice = match (step, Errno::from_raw_os_error(errno)) {
            (Step::Namespace | Step::Process, Errno::NOSPC | Errno::USERS) => {
                "raise the limits user.max_pid_namespaces, user.max_mnt_namespaces and user.max_user_namespaces (sysctl)"
            }
            (Step::SeeProc, _) => "mount the /proc of this PID namespace",
            (Step::MountProc, _) => {
                "allow it: give CAP_SYS_ADMIN, or in a container show all of /proc, and let AppArmor allow user namespaces"
            }
            _ => {
                "allow it: give CAP_SYS_ADMIN, or unprivileged user namespaces (sysctl, AppArmor, the seccomp profile of a container)"
            }
        };
        write!(f, "{advice}; or leave --contain out")
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        Failure::new(USAGE, refused.to_string())
    }
}

/// Fails if a command cannot be contained here. Tries all the steps, without a command.
pub(crate) fn can_contain() -> Result<(), Failure> {
    let cannot =
        |error: io::Error| Failure::new(USAGE, format!("--contain is not possible here: {error}"));
    if !tree::is_ours() {
        return Err(Step::SeeProc.refused()(Errno::SRCH.raw_os_error()).into());
    }
    let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
    let containment = Containment::new();
    let Some(trial) = raw::fork().map_err(cannot)? else {
        match containment.enter() {
            Ok(Side::Outside) => {}
            Ok(Side::Within(pid)) => Report::Ready(pid.as_raw_nonzero().get()).send(theirs.as_fd()),
            Err(refused) => Report::Refused(refused.number()).send(theirs.as_fd()),
        }
        raw::exit(0);
    };
    drop(theirs);
    let report = Report::receive(&ours);
    wait_for(trial);
    match report {
        Ok(Some(Report::Ready(pid))) => {
            if let Some(pid) = Pid::from_raw(pid) {
                wait_for(pid);
            }
            Ok(())
        }
        Ok(Some(Report::Refused(number))) => {
            Err(Refused::of(number).map_or_else(|| cannot(io::ErrorKind::Other.into()), Into::into))
        }
        _ => Err(cannot(io::Error::other("what tried it was killed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_its_number_and_says_what_to_do() {
        for step in STEPS {
            for errno in [Errno::PERM, Errno::NOSPC, Errno::ACCESS] {
                let refused = step.refused()(errno.raw_os_error());

                assert_eq!(Refused::of(refused.number()), Some(refused));
                assert!(refused.to_string().ends_with("or leave --contain out"), "{refused}");
            }
        }
        assert_eq!(Refused::of(5 * ERRORS), None);
    }
}
