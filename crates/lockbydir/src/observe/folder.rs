//! The observed locks of some folders: where they are, which of them have events to report, and
//! when to look.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lockbydir_protocol::Nonce;

use super::event::Event;
use super::history::FORGET_AFTER;
use super::watched::Watched;
use crate::directory::executor::EXTENSION;
use crate::directory::inspect::{is_stage_name, nonce_of_stage};
use crate::directory::queue::SUFFIX;
use crate::error::Error;
use crate::folder::{before, walk};
use crate::os::clock;
use crate::os::{DirEvent, DirWatcher, is_exhausted, open_folder, sleep_on};

/// How often holders are judged: whether they are alive, and whether their timeout is over.
const JUDGE_INTERVAL: Duration = Duration::from_millis(250);
/// How often the observer looks at locks without notifications.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the observer looks for new locks although all changes are notified: this finds what
/// was missed nevertheless.
const SLOW_INTERVAL: Duration = Duration::from_secs(10);
/// How often the observer looks for new locks without notifications: at this interval, or at this
/// multiple of the time that a search takes, if that is longer.
const WALK_INTERVAL: (Duration, u32) = (Duration::from_secs(1), 50);
/// A lock with more events than this from one judging to the next is busy: the observer stops
/// watching it.
const BUSY_EVENTS: u32 = 500;
/// How long events are collected before they are read together, so that a busy lock does not wake
/// the observer for each one.
const GATHER_TIME: Duration = Duration::from_millis(10);
/// How often, per lock, the observer wakes up within that time nevertheless: it must watch a new
/// directory before a second process holds it, if possible.
const MAX_WAKES: usize = 8;

/// The number of handles that a look needs at once.
const HANDLES_PER_LOOK: usize = 4;

/// A limit of the system that has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Descriptors,
    Instances,
    Watches,
}

impl Limit {
    pub(super) fn why(self) -> &'static str {
        match self {
            Limit::Descriptors => {
                "no file descriptor is left (see ulimit -n, fs.file-max): what is shown may be old"
            }
            Limit::Instances => {
                "no inotify instance is left for this user (see fs.inotify.max_user_instances): locks are looked at ten times a second, and what is briefer may be missed"
            }
            Limit::Watches => {
                "no inotify watch is left for this user (see fs.inotify.max_user_watches): locks are looked at ten times a second, and what is briefer may be missed"
            }
        }
    }
}

/// What a watch is for, by its number.
#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Lock(PathBuf),
    Queue(PathBuf),
}

/// Some folders, and their locks.
pub(super) struct Folders {
    roots: Vec<PathBuf>,
    /// If set, only these locks are observed, and no folders within the roots.
    only: Option<BTreeSet<PathBuf>>,
    watcher: Option<DirWatcher>,
    /// The limit because of which some changes are not notified. While it is set, the observer
    /// looks often.
    limit: Option<Limit>,
    places: HashMap<i32, Place>,
    numbers: HashMap<PathBuf, i32>,
    locks: BTreeMap<PathBuf, Watched>,
    /// The stage that was just moved, in the folder of this number: the next event of that folder
    /// shows which lock it became.
    staged: Option<(i32, Nonce)>,
    next_judge: Duration,
    next_look: Duration,
    next_walk: Duration,
}

impl std::fmt::Debug for Folders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folders").field("roots", &self.roots).finish_non_exhaustive()
    }
}

impl Folders {
    pub(super) fn open(
        roots: Vec<PathBuf>,
        only: Option<BTreeSet<PathBuf>>,
    ) -> Result<Folders, Error> {
        let mut folders = Folders {
            roots,
            only,
            watcher: None,
            limit: None,
            places: HashMap::new(),
            numbers: HashMap::new(),
            locks: BTreeMap::new(),
            staged: None,
            next_judge: Duration::ZERO,
            next_look: Duration::ZERO,
            next_walk: Duration::ZERO,
        };
        folders.walk()?;
        Ok(folders)
    }

    /// Returns true if everything has been reported that was there at the beginning.
    pub(super) fn is_whole(&self) -> bool {
        self.next_judge > Duration::ZERO && !self.locks.values().any(Watched::is_unsure)
    }

    /// Waits until something happens, until `until` at most, and returns the events.
    pub(super) fn next(&mut self, until: Duration) -> Result<Vec<Event>, Error> {
        loop {
            let read_until = clock::boot();
            self.read_events();
            let now = clock::boot();
            if now >= self.next_walk {
                self.walk()?;
            }
            if now >= self.next_look {
                self.look();
            }
            if now >= self.next_judge {
                self.locks.values_mut().for_each(Watched::judge);
                self.unwatch_busy();
                self.next_judge = now + JUDGE_INTERVAL;
            }
            self.count()?;
            self.locks.values_mut().for_each(|watched| watched.settle(read_until));
            let events = self.take_events();
            if !events.is_empty() || now >= until {
                return Ok(events);
            }
            let counts = self.locks.values().filter_map(Watched::next_count);
            let settlings = self.locks.values().filter_map(Watched::next_settling);
            let of_locks = counts.chain(settlings).min();
            let own = self.next_walk.min(self.next_look).min(self.next_judge);
            let next = until.min(own).min(of_locks.unwrap_or(own));
            let watcher: Vec<_> = self.watcher.iter().map(DirWatcher::source).collect();
            if sleep_on(&watcher, next.saturating_sub(clock::boot())).is_some() {
                self.gather();
            }
        }
    }

    /// Reads events for a while, the first ones immediately: a waiter that gives up may be gone a
    /// moment later.
    fn gather(&mut self) {
        let until = clock::boot() + GATHER_TIME;
        for _ in 0..MAX_WAKES * self.locks.len().max(1) {
            self.read_events();
            let watcher: Vec<_> = self.watcher.iter().map(DirWatcher::source).collect();
            if sleep_on(&watcher, until.saturating_sub(clock::boot())).is_none() {
                return;
            }
        }
        let _ = sleep_on(&[], until.saturating_sub(clock::boot()));
    }

    fn take_events(&mut self) -> Vec<Event> {
        let at = SystemTime::now();
        let mut events = Vec::new();
        for (path, watched) in &mut self.locks {
            let changes = watched.take_events().into_iter();
            events.extend(changes.map(|what| Event { at, path: path.clone(), what }));
        }
        events
    }

    /// Returns which limit keeps the observer from seeing everything that happens.
    pub(super) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Returns true if all changes are notified.
    fn sees_all_changes(&self) -> bool {
        self.watcher.is_some() && self.limit.is_none()
    }

    /// Looks at the locks without notifications.
    fn look(&mut self) {
        let is_notified = self.sees_all_changes();
        let mut is_any = false;
        for watched in self.locks.values_mut() {
            if watched.by_looks(is_notified) {
                is_any = true;
                watched.look();
            }
        }
        self.next_look = clock::boot() + if is_any { LOOK_INTERVAL } else { SLOW_INTERVAL };
    }

    /// Stops watching busy locks, and the folders that they are in.
    fn unwatch_busy(&mut self) {
        let mut unwatched = Vec::new();
        for (path, watched) in &mut self.locks {
            if watched.take_event_count() > BUSY_EVENTS {
                watched.set_busy();
                unwatched.extend([path.clone(), watched.queue_path()]);
                unwatched.extend(path.parent().map(Path::to_owned));
            }
        }
        for path in unwatched {
            if let (Some(watcher), Some(number)) = (&self.watcher, self.numbers.remove(&path)) {
                watcher.unwatch(number);
                self.places.remove(&number);
            }
            (self.next_look, self.next_walk) = (Duration::ZERO, clock::boot() + WALK_INTERVAL.0);
        }
    }

    /// Counts the holdings of busy locks; watches those that are calm again.
    fn count(&mut self) -> Result<(), Error> {
        let calm = self.locks.iter_mut().filter_map(|(path, watched)| {
            let is_calm = watched.count();
            is_calm.then(|| path.clone())
        });
        let calm: Vec<PathBuf> = calm.collect();
        if !calm.is_empty() {
            self.walk()?;
        }
        calm.iter().for_each(|path| self.watch(path));
        Ok(())
    }

    fn is_wanted(&self, lock: &Path) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(lock))
    }

    /// Returns true if there is a busy lock in this folder.
    fn is_busy(&self, folder: &Path) -> bool {
        let mut busy = self.locks.iter().filter(|(_, watched)| watched.is_busy());
        busy.any(|(path, _)| path.parent() == Some(folder))
    }

    /// Searches for locks, and for folders to watch.
    fn walk(&mut self) -> Result<(), Error> {
        let begun = clock::boot();
        // The limit is determined anew each time: other processes may have released the resource.
        self.limit = None;
        if let Some(root) = self.roots.first() {
            let some: Result<Vec<_>, _> =
                (0..HANDLES_PER_LOOK).map(|_| open_folder(root)).collect();
            let is_known = self.watcher.is_some() || !self.locks.is_empty();
            match some {
                Err(errno) if is_exhausted(errno) && is_known => {
                    self.limit = Some(Limit::Descriptors);
                    self.next_walk = clock::boot() + WALK_INTERVAL.0;
                    return Ok(());
                }
                // There is no known state yet that could be shown.
                Err(errno) => return Err(Error::io("read", root, errno.into())),
                Ok(_) => {}
            }
        }
        if self.watcher.is_none() {
            let watcher = DirWatcher::new();
            let is_limit = watcher.as_ref().is_err_and(|errno| is_exhausted(*errno));
            self.limit = is_limit.then_some(Limit::Instances);
            self.watcher = watcher.ok();
        }
        let (mut found, mut inner) = (BTreeSet::new(), Vec::new());
        for root in &self.roots {
            inner.push(root.clone());
            let mut lock = |path: PathBuf| {
                if self.is_wanted(&path) {
                    found.insert(path);
                }
            };
            let is_deep = self.only.is_none();
            walk(
                root,
                &mut |folder| {
                    is_deep && {
                        inner.push(folder.to_owned());
                        true
                    }
                },
                &mut |_, path| {
                    if is_lock(path) {
                        lock(path.to_owned());
                    } else if let Some(path) = before(path, SUFFIX) {
                        lock(path);
                    }
                },
            )?;
        }
        let mut is_any_busy = false;
        for folder in inner {
            match self.is_busy(&folder) {
                true => is_any_busy = true,
                false => self.listen(&folder, Place::Folder),
            }
        }
        self.forget(&found, begun.saturating_sub(FORGET_AFTER));
        for path in found {
            self.watch(&path);
        }
        let (least, times) = WALK_INTERVAL;
        let took = clock::boot().saturating_sub(begun);
        let pause = if self.sees_all_changes() && !is_any_busy { SLOW_INTERVAL } else { least };
        self.next_walk = clock::boot() + pause.max(took * times);
        self.next_look = self.next_look.min(clock::boot() + LOOK_INTERVAL);
        Ok(())
    }

    /// Forgets all locks except these, those that were requested by name, and those that were
    /// present since then.
    fn forget(&mut self, found: &BTreeSet<PathBuf>, then: Duration) {
        if self.only.is_none() {
            self.locks.retain(|path, watched| found.contains(path) || !watched.was_gone(then));
        }
    }

    /// Begins to watch a lock, or watches it again.
    fn watch(&mut self, path: &Path) {
        let known = self.locks.remove(path);
        let (is_new, is_notified) = (known.is_none(), self.sees_all_changes());
        let mut watched = known.unwrap_or_else(|| Watched::new(path, is_notified));
        if !watched.is_busy() && !self.numbers.contains_key(path) {
            watched.by_looks(is_notified);
            self.listen(path, Place::Lock);
            self.listen(&watched.queue_path(), |_| Place::Queue(path.to_owned()));
            match is_new {
                true => watched.begin_first(),
                false => watched.begin(),
            }
        }
        self.locks.insert(path.to_owned(), watched);
    }

    fn listen(&mut self, path: &Path, place: impl FnOnce(PathBuf) -> Place) {
        let Some(watcher) = &self.watcher else { return };
        match watcher.watch(path) {
            Ok(number) => {
                self.numbers.insert(path.to_owned(), number);
                self.places.insert(number, place(path.to_owned()));
            }
            Err(errno) if is_exhausted(errno) => {
                self.limit = Some(Limit::Watches);
                let soon = clock::boot() + WALK_INTERVAL.0;
                (self.next_look, self.next_walk) = (Duration::ZERO, self.next_walk.min(soon));
            }
            // It does not exist, or cannot be read.
            Err(_) => {}
        }
    }

    fn read_events(&mut self) {
        let mut all = Vec::new();
        if let Some(watcher) = &self.watcher {
            watcher.read_events(&mut |event| all.push(event));
        }
        for event in all {
            match event {
                DirEvent::Added(number, name, is_folder) => self.added(number, &name, is_folder),
                DirEvent::Removed(number, name, is_moved) => self.removed(number, &name, is_moved),
                DirEvent::Ended(number) => self.folder_ended(number),
                DirEvent::Overflow => {
                    self.locks.values_mut().for_each(Watched::begin);
                    self.next_walk = Duration::ZERO;
                }
            }
        }
    }

    fn folder_ended(&mut self, number: i32) {
        self.numbers.retain(|_, known| *known != number);
        if let Some(Place::Folder(_)) = self.places.remove(&number) {
            self.next_walk = Duration::ZERO;
        }
    }

    fn added(&mut self, number: i32, name: &OsStr, is_folder: bool) {
        let is_notified = self.sees_all_changes();
        match self.places.get(&number) {
            Some(Place::Folder(folder)) => {
                let staged = self.staged.take_if(|(folder, _)| *folder == number);
                let path = folder.join(name);
                let queue_of = before(&path, SUFFIX).filter(|path| is_lock(path));
                if is_lock(&path) && self.is_wanted(&path) {
                    self.listen(&path, Place::Lock);
                    let watched = self.locks.entry(path.clone());
                    let watched = watched.or_insert_with(|| Watched::new(&path, is_notified));
                    watched.count_event();
                    watched.appeared(staged.map(|(_, nonce)| nonce));
                } else if let Some(lock) = queue_of.filter(|lock| self.is_wanted(lock)) {
                    self.listen(&path, |_| Place::Queue(lock.clone()));
                    let watched = self.locks.entry(lock.clone());
                    watched.or_insert_with(|| Watched::new(&lock, is_notified)).look_at_queue();
                } else if is_folder && self.only.is_none() && !is_stage_name(name) {
                    self.next_walk = Duration::ZERO;
                }
            }
            Some(Place::Lock(path)) => {
                if let Some(watched) = self.locks.get_mut(path) {
                    watched.count_event();
                    watched.entered(name);
                }
            }
            Some(Place::Queue(path)) => {
                if let Some(watched) = self.locks.get_mut(path) {
                    watched.count_event();
                    watched.joined(name);
                }
            }
            None => {}
        }
    }

    fn removed(&mut self, number: i32, name: &OsStr, is_moved: bool) {
        let Some(place) = self.places.get(&number) else { return };
        if let (Place::Folder(_), true) = (place, is_moved) {
            self.staged = nonce_of_stage(name).map(|nonce| (number, nonce));
        }
        let path = match place {
            Place::Folder(folder) => &folder.join(name),
            Place::Lock(path) | Place::Queue(path) => path,
        };
        let Some(watched) = self.locks.get_mut(path) else { return };
        watched.count_event();
        match place {
            Place::Folder(_) => watched.vanished(),
            // The next event has its new name.
            Place::Lock(_) if is_moved => watched.renamed(name),
            Place::Lock(_) => watched.left(name),
            Place::Queue(_) => watched.left_queue(name),
        }
    }
}

fn is_lock(path: &Path) -> bool {
    before(path, EXTENSION).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lock;

    #[test]
    fn only_locks_absent_for_long_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let roots = vec![folder.path().to_owned()];
        let mut folders = Folders::open(roots, None).unwrap();
        let lock = |name| Lock::new(folder.path().join(name)).acquire().unwrap();
        let (_there, gone) = (lock("there"), lock("gone"));
        folders.walk().unwrap();
        folders.take_events();
        gone.release().unwrap();
        while folders.locks.values().filter(|watched| !watched.was_gone(Duration::MAX)).count() > 1
        {
            folders.next(clock::boot() + Duration::from_millis(10)).unwrap();
        }
        let known = |folders: &Folders| folders.locks.len();

        folders.forget(&BTreeSet::new(), Duration::ZERO);
        assert_eq!(known(&folders), 2, "it may be back soon");
        folders.forget(&folders.locks.keys().cloned().collect(), Duration::MAX);
        assert_eq!(known(&folders), 2, "its directory is there");
        folders.forget(&BTreeSet::new(), Duration::MAX);

        let left: Vec<_> = folders.locks.keys().filter_map(|path| path.file_name()).collect();
        assert_eq!(left, ["there.lockdir"]);
    }
}
