//! The needs of tests, and where they are met: in this process, or in namespaces that `unshare` makes.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// What a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A process in which no other test runs: a forked child gets a copy of each mutex that another thread
    /// has locked, which stays locked for ever there.
    OwnProcess,
    /// To become other users, and to give them files and a program in the folder of temporary files.
    AnotherUser,
    /// The same, where the set-user-ID bit of a program counts.
    SetUserId,
    /// To mount file systems, in a mount namespace of the test's own, and to make other namespaces.
    Mounts,
    /// The same, with FUSE.
    Fuse,
    /// To make time namespaces.
    TimeNamespace,
    /// User namespaces, whose limits can be set.
    UserNamespaces,
    /// To see the system calls of a process.
    Strace,
}

/// A place where a need may be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// The command that enters it; empty: this process is in it.
    enter: &'static [&'static str],
    /// The folder of temporary files, if it is not the process's own.
    temporary: Option<&'static str>,
}

const SAME_PLACE: &[&str] = &["env", "--"];
/// All of a user's own subordinate IDs, beside root; needs `newuidmap`, and IDs in `/etc/subuid`.
const MANY_USERS: &[&str] =
    &["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--"];
const MOUNTS_OF_ROOT: &[&str] = &["unshare", "--mount", "--"];
const MOUNTS_OF_ANYBODY: &[&str] = &["unshare", "--user", "--map-root-user", "--mount", "--"];

/// Folders of temporary files: the chosen one may be private, or its set-user-ID bits may not count.
const TEMPORARY: [Option<&str>; 4] = [None, Some("/tmp"), Some("/var/tmp"), Some("/dev/shm")];

impl Need {
    /// Shell text that succeeds, in a new folder, where the need is met.
    fn check(self) -> &'static str {
        match self {
            Need::OwnProcess => "true",
            // The program that is run last has nothing but its user's rights.
            Need::AnotherUser => {
                r#"touch file; chown 1234:4321 file; cp "$(command -v setpriv)" other
                setpriv --reuid 65534 --regid 65534 --clear-groups ./other --dump"#
            }
            Need::SetUserId => {
                r#"cp "$(command -v setpriv)" file; chown 1234 file; chmod 4755 file
                setpriv --reuid 65534 --regid 65534 --clear-groups ./file --dump | grep 'euid: 1234'"#
            }
            Need::Mounts => "mount -t tmpfs none .; umount .; unshare --mount --pid --fork true",
            Need::Fuse => "exec 3<>/dev/fuse",
            Need::Strace => "strace -c -o calls true",
            Need::TimeNamespace => "unshare --time --boottime 3600 --fork true",
            Need::UserNamespaces => {
                "unshare --user --map-root-user sh -ec 'echo 0 > /proc/sys/user/max_inotify_instances'"
            }
        }
    }

    /// What helps a user whose tests are left out.
    fn advice(self) -> &'static str {
        match self {
            Need::OwnProcess => "this program cannot run again",
            Need::AnotherUser | Need::SetUserId => {
                "there is no other user (run the tests as root, or install `newuidmap`, which gives a user \
                 namespace the IDs of /etc/subuid)"
            }
            Need::Mounts => {
                "nothing can be mounted (run the tests as root, or allow user namespaces)"
            }
            Need::TimeNamespace => {
                "there are no time namespaces (run the tests as root, or allow user namespaces)"
            }
            Need::Fuse => "there is no FUSE (load its module, and run the tests as root)",
            Need::UserNamespaces => "there are no user namespaces (allow them)",
            Need::Strace => "there is no strace (install it, and allow ptrace)",
        }
    }

    fn entrances(self) -> &'static [&'static [&'static str]] {
        match self {
            Need::OwnProcess => &[SAME_PLACE],
            Need::AnotherUser | Need::SetUserId => &[&[], MANY_USERS],
            // Never in the machine's own mount namespace: what a failed test leaves mounted would stay.
            Need::Mounts | Need::Fuse | Need::TimeNamespace => &[MOUNTS_OF_ROOT, MOUNTS_OF_ANYBODY],
            Need::UserNamespaces | Need::Strace => &[&[]],
        }
    }

    /// Returns the first room where this need is met, or why there is none.
    pub(crate) fn room(self) -> Result<Room, String> {
        type Found = (Need, Result<Room, String>);
        static FOUND: Mutex<Vec<Found>> = Mutex::new(Vec::new());
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, room)) = found.iter().find(|(need, _)| *need == self) {
            return room.clone();
        }
        let room = self.search();
        found.push((self, room.clone()));
        room
    }

    fn search(self) -> Result<Room, String> {
        let mut refusals = Vec::new();
        for enter in self.entrances() {
            for temporary in TEMPORARY {
                let room = Room { enter, temporary };
                match room.refuses(self.check()) {
                    None => return Ok(room),
                    Some(why) if !refusals.contains(&why) => refusals.push(why),
                    Some(_) => {}
                }
            }
        }
        Err(format!("{}: {}", self.advice(), refusals.join("; ")))
    }
}

impl Room {
    /// Whether this process is in it.
    pub(crate) fn is_here(self) -> bool {
        self.enter.is_empty() && self.temporary.is_none()
    }

    /// Returns a command that runs this program in the room.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.enter.split_first() {
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Some(temporary) = self.temporary {
            command.env("TMPDIR", temporary);
        }
        command
    }

    /// Runs a check in the room; returns the first line of its errors if it fails.
    fn refuses(self, check: &str) -> Option<String> {
        if self.temporary.is_some_and(|folder| !Path::new(folder).is_dir()) {
            return Some(format!("no {}", self.temporary.unwrap_or_default()));
        }
        // `--map-auto` leaves a process behind that waits for ever where there are no user namespaces.
        if self.enter == MANY_USERS {
            let plain = Room { enter: MOUNTS_OF_ANYBODY, temporary: None };
            if let Some(why) = plain.refuses("true") {
                return Some(why);
            }
        }
        let script =
            format!(r#"d=$(mktemp -d); trap 'rm -r "$d"' EXIT; chmod 755 "$d"; cd "$d"; {check}"#);
        let output = self.command("sh").args(["-ec", &script]).stdin(Stdio::null()).output();
        let output = match output {
            Ok(output) if output.status.success() => return None,
            Ok(output) => output,
            Err(error) => return Some(error.to_string()),
        };
        let text = String::from_utf8_lossy(&output.stderr);
        Some(text.lines().next().unwrap_or("refused without a message").trim().to_owned())
    }
}
