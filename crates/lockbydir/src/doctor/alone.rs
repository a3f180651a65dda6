//! What one process can try alone: renames, removals, names, as the steps of a lock make them.

use std::collections::BTreeSet;
use std::path::Path;

use lockbydir_protocol::{
    Acquire, AcquireRequest, Acquisition, Fault, LocalContext, MAX_NAME, Machine as _, Step,
};

use super::report::Grade;
use super::sandbox::Sandbox;
use super::{Probe, ProbeError, said};
use crate::directory::executor::Directory;
use crate::os::clock;
use crate::os::syscalls::about_path;
use crate::os::{Errno, fault, is_no_such_call};
use crate::settings::Settings;

/// In the order in which they are told.
pub(super) const TRIES: &[Probe] =
    &[INSTALL, TWICE, OVER_FULL, OVER_EMPTY, NO_REPLACE, REMOVE_FULL, REMOVE_TWICE, NAMES, LETTERS];

const INSTALL: Probe = Probe {
    name: "rename-free",
    tried: "rename to a free name",
    run: |attempt, _| {
        let room = attempt.room;
        room.create_full("probe-free-stage", "probe-entry")?;
        room.rename_dir("probe-free-stage", "probe-free")?;
        let names = room.list()?;
        let inside = room.list_in("probe-free")?;
        if names.contains("probe-free-stage") {
            attempt.fatal("both names stay", "A lock would be installed twice.");
        } else if !names.contains("probe-free") || inside != set(["probe-entry"]) {
            attempt.fatal("it is not there as it was", "A lock that was installed is not seen.");
        } else {
            attempt.good("it moves whole", "A lock comes with its holder's name in it.");
        }
        Ok(())
    },
};

pub(super) const TWICE: Probe = Probe {
    name: "rename-twice",
    tried: "rename one file twice",
    run: |attempt, _| {
        let room = attempt.room;
        room.create("probe-twice")?;
        room.rename("probe-twice", "probe-twice-a")?;
        let second = room.rename("probe-twice", "probe-twice-b");
        let names: BTreeSet<String> =
            room.list()?.into_iter().filter(|name| name.starts_with("probe-twice")).collect();
        match second {
            Ok(()) => attempt.fatal(
                "both were said to be done",
                "Two who take one lock would both be told that they have it.",
            ),
            Err(_) if names != set(["probe-twice-a"]) => {
                let names: Vec<String> = names.into_iter().collect();
                let seen = format!("afterwards there is {}", named(&names));
                attempt.fatal(seen, "What a listing shows is not what was done.");
            }
            Err(errno) if fault(errno) == Fault::Missing => {
                attempt.good("the second: no such file", "Of all who take a lock, one gets it.");
            }
            Err(errno) => attempt.good(
                format!("the second: {}", said(errno)),
                "Of all who take a lock, one gets it; the others look again.",
            ),
        }
        Ok(())
    },
};

/// How often a directory is installed over a full one: a union of file systems may choose anew each
/// time where it makes a directory, and then one try in four finds nothing.
const INSTALLS: u8 = 16;

pub(super) const OVER_FULL: Probe = Probe {
    name: "rename-over-full",
    tried: "rename over a full one",
    run: |attempt, _| {
        let mut found = (Grade::Good, String::new(), "");
        for round in 0..INSTALLS {
            found = over_full(attempt.room, round)?;
            if found.0 == Grade::Fatal {
                break;
            }
        }
        attempt.note(found.0, found.1, found.2);
        Ok(())
    },
};

fn over_full(room: &Sandbox, round: u8) -> Result<(Grade, String, &'static str), ProbeError> {
    let (full, other) = (format!("probe-full-{round}"), format!("probe-other-{round}"));
    room.create_full(&full, "probe-entry")?;
    room.create_full(&other, "probe-other-entry")?;
    let done = room.rename_dir(&other, &full);
    let inside = room.list_in(&full)?;
    let fatal = |seen: &str, meaning| Ok((Grade::Fatal, seen.into(), meaning));
    if !inside.contains("probe-entry") {
        fatal("the full one was replaced", "Who comes would throw the holder out.")
    } else if inside.contains(&other) {
        let meaning = "The lock takes it out again, and looks before it believes.";
        Ok((Grade::Remark, "it was moved into the other one".into(), meaning))
    } else if let Err(errno) = done {
        Ok((Grade::Good, format!("refused: {}", said(errno)), "A held lock is not replaced."))
    } else if room.list()?.contains(&other) {
        let meaning = "Who installs a lock cannot believe that it holds it.";
        fatal("said to be done, and was not", meaning)
    } else {
        fatal("two directories became one", "Two would hold one lock.")
    }
}

const OVER_EMPTY: Probe = Probe {
    name: "rename-over-empty",
    tried: "rename over an empty one",
    run: |attempt, _| {
        let room = attempt.room;
        room.create_empty("probe-empty")?;
        room.create_full("probe-onto", "probe-entry")?;
        let done = room.rename_dir("probe-onto", "probe-empty");
        let inside = room.list_in("probe-empty")?;
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
                let seen = format!("refused: {}", said(errno));
                attempt.good(seen, "A lock by plain mkdir is not replaced.");
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
        let room = attempt.room;
        room.create_full("probe-new-stage", "probe-entry")?;
        match room.install("probe-new-stage", "probe-new") {
            Err(errno) if is_no_such_call(errno) => {
                attempt.remark("there is no such call", BARE);
                return Ok(());
            }
            done => done?,
        }
        room.create_empty("probe-bare")?;
        match room.install("probe-new", "probe-bare") {
            Err(errno) => {
                let seen = format!("refused: {}", said(errno));
                attempt.good(seen, "A lock by plain mkdir is not replaced.");
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
        let room = attempt.room;
        room.create_full("probe-kept", "probe-entry")?;
        let done = room.remove_dir("probe-kept");
        let inside = room.list_in("probe-kept");
        match (done, inside) {
            (Err(errno), Ok(inside)) if inside == set(["probe-entry"]) => {
                attempt.good(format!("refused: {}", said(errno)), "A held lock is not removed.");
            }
            (Ok(()), Ok(inside)) if inside == set(["probe-entry"]) => attempt.fatal(
                "said to be done, and was not",
                "Who releases a lock cannot know whether it is gone.",
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
        let room = attempt.room;
        room.create("probe-gone")?;
        room.remove("probe-gone")?;
        match (room.remove("probe-gone"), room.list()?.contains("probe-gone")) {
            (_, true) => attempt.fatal("it is still there", "A released lock would stay held."),
            (Ok(()), _) => attempt.remark(
                "both were said to be done",
                "Who releases a lock that it has lost is not told so.",
            ),
            (Err(errno), _) => {
                let seen = format!("the second: {}", said(errno).to_lowercase());
                attempt.good(seen, "Who releases a lock knows whether it was its own.");
            }
        }
        Ok(())
    },
};

const NAMES: Probe = Probe {
    name: "names",
    tried: "long names",
    run: |attempt, _| {
        let room = attempt.room;
        let longest = longest_name(room)?;
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
        match room.create(&format!("probe-{}", "x".repeat(249))) {
            Ok(()) => attempt.good("200 and 255 bytes are kept", "All names of locks can be had."),
            Err(errno) => attempt.remark(
                format!("200 bytes are kept; 255: {}", said(errno)),
                "The longest names of locks cannot be had.",
            ),
        }
        Ok(())
    },
};

/// How many bytes a name may have there: [`MAX_NAME`] if it may be as long as any entry's.
pub(super) fn longest_name(room: &Sandbox) -> Result<usize, ProbeError> {
    let is_kept = |length: usize| {
        // No entry's name ends in a dot, which Windows leaves out.
        let letters = "probe-".chars().chain("v1.held+p=09_az-".chars().cycle());
        let name: String = letters.take(length - 1).chain(['x']).collect();
        match room.create(&name) {
            Ok(()) => {
                let is_listed = room.list()?.contains(&name);
                room.remove(&name)?;
                Ok(is_listed)
            }
            Err(errno) if matches!(fault(errno), Fault::NoPlace { .. }) => Ok(false),
            Err(errno) => Err(ProbeError::Failed(errno)),
        }
    };
    // No file system has names as short as the folder's own.
    let (mut kept, mut refused) = (room.name().len(), MAX_NAME + 1);
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

/// How many bytes the entry of a lock with usual options may need.
fn needed(names_child: bool) -> usize {
    let settings = Settings::new(Path::new("probe"));
    let wish = settings.wish().map(|wish| AcquireRequest { names_child, ..wish });
    let here =
        LocalContext { longest_name: 0, ..Directory::new("/probe".into(), 0o700, None).here() };
    match wish.map(|wish| Acquire::new(wish, here, None).start(clock::now())) {
        Ok(Step::Finished(Acquisition::NameTooLong(needed))) => needed,
        _ => MAX_NAME,
    }
}

const LETTERS: Probe = Probe {
    name: "case",
    tried: "small and large letters",
    run: |attempt, _| {
        attempt.room.create("probe-case")?;
        match about_path(&attempt.room.at("PROBE-CASE")) {
            Err(Errno::NOENT) => attempt.good("not found", "`jobs` and `JOBS` are two locks."),
            Err(errno) => return Err(ProbeError::Failed(errno)),
            Ok(_) if attempt.room.list()?.contains("probe-case") => {
                attempt.remark("found: case is all one", "`jobs` and `JOBS` are one lock.");
            }
            Ok(_) => attempt
                .fatal("found, and listed in other letters", "An entry would not be known again."),
        }
        Ok(())
    },
};

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// For people.
fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
