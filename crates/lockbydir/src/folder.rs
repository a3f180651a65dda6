//! Whole folders of locks: listing them, and removing what crashes left behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{
    Entry, Facts, Observation, Release, Released, Stamp, State, Verdict, judge,
};
use lockbydir_protocol::{LocalContext, Question};

use crate::directory::executor::{Directory, EXTENSION, remove_stage};
use crate::directory::inspect::is_stage_name;
use crate::directory::queue::SUFFIX;
use crate::doctor::{is_sandbox_name, remove_left};
use crate::engine::registered;
use crate::error::Error;
use crate::lock::Lock;
use crate::os::{
    Errno, FileKind, Handle, Names, is_exhausted, open_folder, open_folder_at, path_in,
};
use crate::os::{clock, process};
use crate::status::Status;

/// An empty stage that is older than this was left by a crash: a live process fills its stage at
/// once.
const STALE_STAGE: Duration = Duration::from_secs(60);

/// Returns every lock below a folder, sorted by path; does not follow symbolic links. A URL like
/// `etcd://host:2379/team` is a folder of locks that another [engine](crate::engine) keeps.
///
/// # Errors
/// If the folder itself cannot be read, or handles run out; anything else below it that cannot be
/// read is left out.
pub fn list(dir: impl AsRef<Path>) -> Result<Vec<Status>, Error> {
    if let Some((scheme, url)) = registered(dir.as_ref())? {
        return (scheme.list)(url);
    }
    let mut found = Vec::new();
    walk(dir.as_ref(), &mut |_| true, &mut |_, path| {
        if let Some(lock) = lock_at(path) {
            found.push(lock.status());
        }
    })?;
    // What cannot be read is left out, unless handles have run out: that is not the lock's fault.
    let is_seen = |status: &Result<Status, Error>| match status {
        Ok(_) => true,
        Err(error) => error.is_exhaustion(),
    };
    let mut found = found.into_iter().filter(is_seen).collect::<Result<Vec<Status>, Error>>()?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Removes what crashes left behind below a folder, if it is ours by name and by owner and its
/// creator is gone: directories that were never installed, open locks that nobody removed, queues
/// and tickets of waiters that are gone, folders of a [doctor](crate::doctor) that was killed. For
/// a URL, the [engine](crate::engine) removes what it left behind. Returns what was removed.
///
/// # Errors
/// If the folder itself cannot be read.
pub fn clean(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
    if let Some((scheme, url)) = registered(dir.as_ref())? {
        return (scheme.clean)(url);
    }
    let mut removed = Vec::new();
    walk(dir.as_ref(), &mut |_| true, &mut |parent, path| {
        // Uses the handle: the owner of a folder on the way may put a link in its place.
        let Some(name) = path.file_name() else { return };
        let at = path_in(parent, name);
        let is_gone = if is_stage_name(name) {
            clean_stage(parent, &at)
        } else if is_sandbox_name(name) {
            remove_left(parent, name.as_ref())
        } else if let Some(lockdir) = before(&at, SUFFIX) {
            Directory::new(lockdir, 0o700, None).close_queue().is_ok()
        } else {
            clean_open(&at)
        };
        if is_gone {
            removed.push(path.to_owned());
        }
    })?;
    removed.sort();
    Ok(removed)
}

/// The deepest nesting of folders that is searched. Each level costs handles and memory, and any
/// user may create a tree that is deeper than either allows.
const DEEPEST: u8 = 128;

/// If handles run out within this many levels from the top, the depth of the tree is not the
/// reason. That is an error, since locks would be left out unnoticed.
const SHALLOW: u8 = 16;

/// Calls `found` for everything below a folder that has a name like ours, with a handle of its
/// directory. Enters those other directories for which `enters` returns true.
pub(crate) fn walk(
    dir: &Path,
    enters: &mut dyn FnMut(&Path) -> bool,
    found: &mut dyn FnMut(&Handle, &Path),
) -> Result<(), Error> {
    let walked = open_folder(dir).and_then(|open| walk_in(&open, dir, DEEPEST, enters, found));
    walked.map_err(|errno| Error::io("read", dir, errno.into()))
}

fn walk_in(
    open: &Handle,
    dir: &Path,
    deeper: u8,
    enters: &mut dyn FnMut(&Path) -> bool,
    found: &mut dyn FnMut(&Handle, &Path),
) -> Result<(), Errno> {
    for entry in Names::of_open(open)?.map_while(Result::ok) {
        let name = entry.name();
        let path = dir.join(&name);
        let is_lock = |path: &Path| before(path, EXTENSION).is_some();
        if is_lock(&path)
            || before(&path, SUFFIX).is_some_and(|path| is_lock(&path))
            || is_stage_name(&name)
            || is_sandbox_name(&name)
        {
            found(open, &path);
        } else if deeper > 0
            && matches!(entry.kind(), FileKind::Directory | FileKind::Unknown)
            && enters(&path)
        {
            let inner = open_folder_at(open, &name);
            let walked = inner.and_then(|inner| walk_in(&inner, &path, deeper - 1, enters, found));
            let is_shallow = deeper > DEEPEST - SHALLOW;
            walked.or_else(
                |errno| if is_shallow && is_exhausted(errno) { Err(errno) } else { Ok(()) },
            )?;
        }
    }
    Ok(())
}

/// Returns the lock whose directory this path is.
fn lock_at(path: &Path) -> Option<Lock> {
    let path = path.strip_prefix(".").unwrap_or(path);
    before(path, EXTENSION).is_some().then(|| Lock::new(path))
}

/// Returns the path without this ending, if it has it.
pub(crate) fn before(path: &Path, end: &str) -> Option<PathBuf> {
    let has_end = path.extension().is_some_and(|found| end.strip_prefix('.') == found.to_str());
    has_end.then(|| path.with_extension(""))
}

fn clean_stage(parent: &Handle, path: &Path) -> bool {
    let (Some(name), Some(here)) = (path.file_name(), here(path)) else {
        return false;
    };
    remove_stage(parent, name.as_ref(), |entry, modified| match entry {
        Some(entry) => is_gone(entry, modified, &here),
        None => {
            let age = clock::now().wall.as_nanos().saturating_sub(modified.0.unsigned_abs());
            age > STALE_STAGE.as_nanos()
        }
    })
}

/// Removes an open lock that is kept for nobody: its handle died before it could remove it.
fn clean_open(path: &Path) -> bool {
    let Some(directory) = lock_at(path).and_then(|lock| lock.settings.directory().ok()) else {
        return false;
    };
    let here = directory.here();
    let view = directory.run(&mut lockbydir_protocol::Inspect::new(here));
    let Observation::Directory(listing) = view.sight else {
        return false;
    };
    match listing.entries.first() {
        Some(entry)
            if entry.state == State::Open
                && !entry.fenced
                && listing.stranger.is_none()
                && is_gone(entry, listing.modified, &here) =>
        {
            let mut machine = Release::new(entry.clone(), false, here);
            matches!(directory.run(&mut machine), Released::Left)
        }
        _ => false,
    }
}

fn here(path: &Path) -> Option<LocalContext> {
    path.file_name()?;
    Some(Directory::new(path.to_owned(), 0o700, None).here())
}

/// Returns true if the creator of this entry is gone, by one look and the wall clock.
fn is_gone(entry: &Entry, modified: Stamp, here: &LocalContext) -> bool {
    let now = clock::now();
    let wall = i128::try_from(now.wall.as_nanos()).unwrap_or(0);
    let facts =
        Facts { now, watched: Duration::ZERO, modified, life: None, file_clock: Some(Stamp(wall)) };
    matches!(verdict_on(entry, here, facts), Verdict::Expired(_) | Verdict::Dead(_))
}

/// Returns the verdict by these facts and, if it depends on that, by whether the owner lives. Asks
/// for nothing else.
pub(crate) fn verdict_on(entry: &Entry, here: &LocalContext, mut facts: Facts) -> Verdict {
    match judge(entry, here, &facts) {
        Verdict::Ask(Question::Liveness(owner)) => {
            facts.life = Some(process::life(owner));
            judge(entry, here, &facts)
        }
        known => known,
    }
}
