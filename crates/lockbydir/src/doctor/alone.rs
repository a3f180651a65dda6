//! The probes of one process alone: renames, removals and names, as in the steps of a lock.

use std::collections::BTreeSet;
use std::path::Path;

use lockbydir_protocol::{
    Acquire, AcquireRequest, Acquisition, Fault, LocalContext, MAX_NAME, Machine as _, Step,
};

use super::finding::Grade;
use super::probe::Probe;
use super::probe_error::{ProbeError, describe};
use super::sandbox::Sandbox;
use crate::directory::executor::Directory;
use crate::os::clock;
use crate::os::syscalls::about_path;
use crate::os::{Errno, fault, is_no_such_call};
use crate::settings::Settings;

/// The probes, in the order in which they are reported.
pub(super) const PROBES: &[Probe] =
    &[INSTALL, TWICE, OVER_FULL, OVER_EMPTY, NO_REPLACE, REMOVE_FULL, REMOVE_TWICE, NAMES, LETTERS];

const INSTALL: Probe = Probe {
    name: "rename-free",
    tried: "rename to a free name",
    run: |attempt, _| {
        let sandbox = attempt.sandbox;
        sandbox.create_full("probe-free-stage", "probe-entry")?;
        sandbox.rename_dir("probe-free-stage", "probe-free")?;
        let names = sandbox.list()?;
        let inside = sandbox.list_in("probe-free")?;
        if names.contains("probe-free-stage") {
            attempt.fatal("both names stay", "A lock would be installed twice.");
        } else if !names.contains("probe-free") || inside != set(["probe-entry"]) {
            attempt.fatal("it is not there as it was", "A lock that was installed is not seen.");
        } else {
            attempt.good("it moves whole", "A lock appears together with its holder's name.");
        }
        Ok(())
    },
};

pub(super) const TWICE: Probe = Probe {
    name: "rename-twice",
    tried: "rename one file twice",
    run: |attempt, _| {
        let sandbox = attempt.sandbox;
        sandbox.create("probe-twice")?;
        sandbox.rename("probe-twice", "probe-twice-a")?;
        let second = sandbox.rename("probe-twice", "probe-twice-b");
        let names: BTreeSet<String> =
            sandbox.list()?.into_iter().filter(|name| name.starts_with("probe-twice")).collect();
        match second {
            Ok(()) => attempt.fatal(
                "both were said to be done",
                "Two processes that take one lock would both believe that they hold it.",
            ),
            Err(_) if names != set(["probe-twice-a"]) => {
                let names: Vec<String> = names.into_iter().collect();
                let seen = format!("afterwards there is {}", named(&names));
                attempt.fatal(seen, "A listing does not show what was done.");
            }
            Err(errno) if fault(errno) == Fault::Missing => {
                attempt.good(
                    "the second: no such file",
                    "Of all processes that take a lock, one gets it.",
                );
            }
            Err(errno) => attempt.good(
                format!("the second: {}", describe(errno)),
                "Of all processes that take a lock, one gets it; the others look again.",
            ),
        }
        Ok(())
    },
};

/// How often a directory is installed over one that is not empty. A union of file systems may
/// choose anew each time where it creates a directory; then one try in four finds nothing.
const INSTALLS: u8 = 16;

pub(super) const OVER_FULL: Probe = Probe {
    name: "rename-over-full",
    tried: "rename over a full one",
    run: |attempt, _| {
        let mut found = (Grade::Good, String::new(), "");
        for round in 0..INSTALLS {
            found = over_full(attempt.sandbox, round)?;
            if found.0 == Grade::Fatal {
                break;
            }
        }
        attempt.note(found.0, found.1, found.2);
        Ok(())
    },
};

fn over_full(sandbox: &Sandbox, round: u8) -> Result<(Grade, String, &'static str), ProbeError> {
    let (full, other) = (format!("probe-full-{round}"), format!("probe-other-{round}"));
    sandbox.create_full(&full, "probe-entry")?;
    sandbox.create_full(&other, "probe-other-entry")?;
    let done = sandbox.rename_dir(&other, &full);
    let inside = sandbox.list_in(&full)?;
    let fatal = |seen: &str, meaning| Ok((Grade::Fatal, seen.into(), meaning));
    if !inside.contains("probe-entry") {
        fatal("the full one was replaced", "A newcomer would evict the holder.")
    } else if inside.contains(&other) {
        let meaning = "The lock takes it out again, and looks before it believes.";
        Ok((Grade::Remark, "it was moved into the other one".into(), meaning))
    } else if let Err(errno) = done {
        Ok((Grade::Good, format!("refused: {}", describe(errno)), "A held lock is not replaced."))
    } else if sandbox.list()?.contains(&other) {
        let meaning = "A process that installs a lock cannot believe that it holds it.";
        fatal("said to be done, and was not", meaning)
    } else {
        fatal("two directories became one", "Two would hold one lock.")
    }
}

const OVER_EMPTY: Probe = Probe {
    name: "rename-over-empty",
    tried: "rename over an empty one",
    run: |attempt, _| {
        let sandbox = attempt.sandbox;
        sandbox.create_empty("probe-empty")?;
        sandbox.create_full("probe-onto", "probe-entry")?;
        let done = sandbox.rename_dir("probe-onto", "probe-empty");
        let inside = sandbox.list_in("probe-empty")?;
        match done {
            Ok(()) if inside == set(["probe-entry"]) => attempt.good(
                "replaced, as POSIX has it",
                "An empty directory is never a lock of ours that is held.",
            ),
            Ok(()) => attempt.remark(
                format!("said to be done; then there is {}", named(&inside)),
                "The lock looks before it believes.",
            ),
            Err(errno) => {
                let seen = format!("refused: {}", describe(errno));
                attempt.good(seen, "A plain mkdir lock is not replaced.");
            }
        }
        Ok(())
    },
};

const NO_REPLACE: Probe = Probe {
    name: "rename-no-replace",
    tried: "rename, not to replace",
    run: |attempt, _| {
        const BARE: &str = "Locks by plain mkdir are a little less protected: one that is made in \
                            the same instant may be replaced.";
        let sandbox = attempt.sandbox;
        sandbox.create_full("probe-new-stage", "probe-entry")?;
        match sandbox.install("probe-new-stage", "probe-new") {
            Err(errno) if is_no_such_call(errno) => {
                attempt.remark("there is no such call", BARE);
                return Ok(());
            }
            done => done?,
        }
        sandbox.create_empty("probe-bare")?;
        match sandbox.install("probe-new", "probe-bare") {
            Err(errno) => {
                let seen = format!("refused: {}", describe(errno));
                attempt.good(seen, "A plain mkdir lock is not replaced.");
            }
            Ok(()) => attempt.remark("an empty one is replaced", BARE),
        }
        Ok(())
    },
};

pub(super) const REMOVE_FULL: Probe = Probe {
    name: "rmdir-full",
    tried: "rmdir of a full one",
    run: |attempt, _| {
        let sandbox = attempt.sandbox;
        sandbox.create_full("probe-kept", "probe-entry")?;
        let done = sandbox.remove_dir("probe-kept");
        let inside = sandbox.list_in("probe-kept");
        match (done, inside) {
            (Err(errno), Ok(inside)) if inside == set(["probe-entry"]) => {
                attempt
                    .good(format!("refused: {}", describe(errno)), "A held lock is not removed.");
            }
            (Ok(()), Ok(inside)) if inside == set(["probe-entry"]) => attempt.fatal(
                "said to be done, and was not",
                "A releasing process cannot know whether the lock is gone.",
            ),
            _ => attempt.fatal("removed with what was in it", "A held lock would be removed."),
        }
        Ok(())
    },
};

const REMOVE_TWICE: Probe = Probe {
    name: "unlink-twice",
    tried: "unlink one file twice",
    run: |attempt, _| {
        let sandbox = attempt.sandbox;
        sandbox.create("probe-gone")?;
        sandbox.remove("probe-gone")?;
        match (sandbox.remove("probe-gone"), sandbox.list()?.contains("probe-gone")) {
            (_, true) => attempt.fatal("it is still there", "A released lock would stay held."),
            (Ok(()), _) => attempt.remark(
                "both were said to be done",
                "A process that releases a lock it has lost gets no error.",
            ),
            (Err(errno), _) => {
                let seen = format!("the second: {}", describe(errno).to_lowercase());
                attempt.good(seen, "A releasing process knows whether the lock was its own.");
            }
        }
        Ok(())
    },
};

const NAMES: Probe = Probe {
    name: "names",
    tried: "long names",
    run: |attempt, _| {
        let sandbox = attempt.sandbox;
        let longest = longest_name(sandbox)?;
        if longest < MAX_NAME {
            let seen = format!("at most {longest} bytes are kept");
            let (plain, with_child) = (needed(false), needed(true));
            if longest < plain {
                let meaning = format!("A lock's state is a name that may need {plain}.");
                attempt.fatal(seen, meaning);
            } else if longest < with_child {
                attempt.remark(
                    seen,
                    format!(
                        "Locks of programs fit, with labels cut off; `run` needs {with_child}, \
                         and is refused."
                    ),
                );
            } else {
                attempt.remark(seen, "Hosts' names and labels are cut off where they do not fit.");
            }
            return Ok(());
        }
        match sandbox.create(&format!("probe-{}", "x".repeat(249))) {
            Ok(()) => {
                attempt.good("200 and 255 bytes are kept", "Lock names of every length work.")
            }
            Err(errno) => attempt.remark(
                format!("200 bytes are kept; 255: {}", describe(errno)),
                "The longest lock names do not work.",
            ),
        }
        Ok(())
    },
};

/// Returns how many bytes a name may have there: [`MAX_NAME`] if that is enough for any entry.
pub(super) fn longest_name(sandbox: &Sandbox) -> Result<usize, ProbeError> {
    let is_kept = |length: usize| {
        // The name does not end in a dot, which Windows removes; no entry's name does.
        let letters = "probe-".chars().chain("v1.held+p=09_az-".chars().cycle());
        let name: String = letters.take(length - 1).chain(['x']).collect();
        match sandbox.create(&name) {
            Ok(()) => {
                let is_listed = sandbox.list()?.contains(&name);
                sandbox.remove(&name)?;
                Ok(is_listed)
            }
            Err(errno) if matches!(fault(errno), Fault::NoPlace { .. }) => Ok(false),
            Err(errno) => Err(ProbeError::Failed(errno)),
        }
    };
    // Every file system allows names as long as the folder's own.
    let (mut kept, mut refused) = (sandbox.name().len(), MAX_NAME + 1);
    let mut next = MAX_NAME;
    while kept + 1 < refused {
        if is_kept(next)? {
            kept = next;
        } else {
            refused = next;
        }
        next = kept.midpoint(refused);
    }
    Ok(kept)
}

/// Returns how many bytes the entry of a lock with default options may need.
fn needed(names_child: bool) -> usize {
    let settings = Settings::new(Path::new("probe"));
    let request =
        settings.acquire_request(false).map(|request| AcquireRequest { names_child, ..request });
    let here =
        LocalContext { longest_name: 0, ..Directory::new("/probe".into(), 0o700, None).here() };
    match request.map(|request| Acquire::new(request, here, None).start(clock::now())) {
        Ok(Step::Finished(Acquisition::NameTooLong(needed))) => needed,
        _ => MAX_NAME,
    }
}

const LETTERS: Probe = Probe {
    name: "case",
    tried: "small and large letters",
    run: |attempt, _| {
        attempt.sandbox.create("probe-case")?;
        match about_path(&attempt.sandbox.at("PROBE-CASE")) {
            Err(Errno::NOENT) => attempt.good("not found", "`jobs` and `JOBS` are two locks."),
            Err(errno) => return Err(ProbeError::Failed(errno)),
            Ok(_) if attempt.sandbox.list()?.contains("probe-case") => {
                attempt.remark("found: case is ignored", "`jobs` and `JOBS` are one lock.");
            }
            Ok(_) => attempt
                .fatal("found, but listed with other letters", "An entry would not be recognized."),
        }
        Ok(())
    },
};

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// Formats a list of names for people.
fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
