//! The locks of some folders under observation: where they are, which of them has something to tell,
//! and when to look.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lockbydir_protocol::Nonce;

use super::FORGET;
use super::event::Event;
use super::watched::Watched;
use crate::directory::executor::EXTENSION;
use crate::directory::inspect::{is_stage_name, nonce_of_stage};
use crate::directory::queue::SUFFIX;
use crate::error::Error;
use crate::folder::{before, walk};
use crate::os::clock;
use crate::os::{DirWatcher, Heard, is_exhausted, open_folder, sleep_on};

/// How often holders are judged: whether they live, and whether their time is over.
const JUDGE: Duration = Duration::from_millis(250);
/// How often one looks where nothing tells.
const LOOK: Duration = Duration::from_millis(100);
/// How often one looks for new locks where everything is told: what was missed all the same.
const SELDOM: Duration = Duration::from_secs(10);
/// Where nothing tells of new ones: this often, but so many times as long as it takes at least.
const OFTEN: (Duration, u32) = (Duration::from_secs(1), 50);
/// Of a lock of which more is heard than this from one judging to the next, one hears no more.
const BUSY: u32 = 500;
/// What happens within such a time is heard at once: a lock that is busy wakes nobody each time.
const GATHER: Duration = Duration::from_millis(10);
/// But so many times in it one is woken, for each lock: a directory is listened to before a second one holds
/// it, if that can be.
const AT_ONCE: usize = 8;

/// A look needs as many handles as this at once.
const HANDLES: usize = 4;

/// A limit of the system that is reached.
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

/// What one listens to, by its number.
#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Lock(PathBuf),
    Queue(PathBuf),
}

/// Some folders, and their locks.
pub(super) struct Folders {
    roots: Vec<PathBuf>,
    /// Only these locks, and no folders within the roots.
    only: Option<BTreeSet<PathBuf>>,
    ears: Option<DirWatcher>,
    /// Of what one is not notified, because a limit is reached. One looks often until it is not.
    limit: Option<Limit>,
    places: HashMap<i32, Place>,
    numbers: HashMap<PathBuf, i32>,
    locks: BTreeMap<PathBuf, Watched>,
    /// The stage that was moved a moment ago, in the folder of this number: which lock it became is heard
    /// next of that folder.
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
            ears: None,
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

    /// Was all told that was there at the beginning?
    pub(super) fn is_whole(&self) -> bool {
        self.next_judge > Duration::ZERO && !self.locks.values().any(Watched::is_unsure)
    }

    /// What happens until then, as soon as something does.
    pub(super) fn next(&mut self, until: Duration) -> Result<Vec<Event>, Error> {
        loop {
            let heard_until = clock::boot();
            self.hear();
            let now = clock::boot();
            if now >= self.next_walk {
                self.walk()?;
            }
            if now >= self.next_look {
                self.look();
            }
            if now >= self.next_judge {
                self.locks.values_mut().for_each(Watched::judge);
                self.hush();
                self.next_judge = now + JUDGE;
            }
            self.count()?;
            self.locks.values_mut().for_each(|watched| watched.settle(heard_until));
            let events = self.told();
            if !events.is_empty() || now >= until {
                return Ok(events);
            }
            let counts = self.locks.values().filter_map(Watched::next_count);
            let settlings = self.locks.values().filter_map(Watched::next_settling);
            let of_locks = counts.chain(settlings).min();
            let own = self.next_walk.min(self.next_look).min(self.next_judge);
            let next = until.min(own).min(of_locks.unwrap_or(own));
            let ears: Vec<_> = self.ears.iter().map(DirWatcher::source).collect();
            if sleep_on(&ears, next.saturating_sub(clock::boot())).is_some() {
                self.gather();
            }
        }
    }

    /// Hears for a while, the first things as they come: who gives up may be gone a moment later.
    fn gather(&mut self) {
        let until = clock::boot() + GATHER;
        for _ in 0..AT_ONCE * self.locks.len().max(1) {
            self.hear();
            let ears: Vec<_> = self.ears.iter().map(DirWatcher::source).collect();
            if sleep_on(&ears, until.saturating_sub(clock::boot())).is_none() {
                return;
            }
        }
        let _ = sleep_on(&[], until.saturating_sub(clock::boot()));
    }

    fn told(&mut self) -> Vec<Event> {
        let at = SystemTime::now();
        let mut events = Vec::new();
        for (path, watched) in &mut self.locks {
            let told = watched.told().into_iter();
            events.extend(told.map(|what| Event { at, path: path.clone(), what }));
        }
        events
    }

    /// Which limit keeps it from seeing all that happens.
    pub(super) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Is all that happens told?
    fn hears_all(&self) -> bool {
        self.ears.is_some() && self.limit.is_none()
    }

    /// Looks at what nothing tells of.
    fn look(&mut self) {
        let hears = self.hears_all();
        let mut is_any = false;
        for watched in self.locks.values_mut() {
            if watched.by_looks(hears) {
                is_any = true;
                watched.look();
            }
        }
        self.next_look = clock::boot() + if is_any { LOOK } else { SELDOM };
    }

    /// Hears no more of what is too busy, nor of the folder that it is in.
    fn hush(&mut self) {
        let mut hushed = Vec::new();
        for (path, watched) in &mut self.locks {
            if watched.take_heard() > BUSY {
                watched.hush();
                hushed.extend([path.clone(), watched.queue_path()]);
                hushed.extend(path.parent().map(Path::to_owned));
            }
        }
        for path in hushed {
            if let (Some(ears), Some(number)) = (&self.ears, self.numbers.remove(&path)) {
                ears.forget(number);
                self.places.remove(&number);
            }
            (self.next_look, self.next_walk) = (Duration::ZERO, clock::boot() + OFTEN.0);
        }
    }

    /// Counts the holdings of what is busy; what is calm is listened to again.
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

    /// Is there a busy lock in it?
    fn is_busy(&self, folder: &Path) -> bool {
        let mut busy = self.locks.iter().filter(|(_, watched)| watched.is_busy());
        busy.any(|(path, _)| path.parent() == Some(folder))
    }

    /// Looks for locks, and for folders to listen to.
    fn walk(&mut self) -> Result<(), Error> {
        let begun = clock::boot();
        // Each time anew: others may have let go of what is missing.
        self.limit = None;
        if let Some(root) = self.roots.first() {
            let some: Result<Vec<_>, _> = (0..HANDLES).map(|_| open_folder(root)).collect();
            let is_known = self.ears.is_some() || !self.locks.is_empty();
            match some {
                Err(errno) if is_exhausted(errno) && is_known => {
                    self.limit = Some(Limit::Descriptors);
                    self.next_walk = clock::boot() + OFTEN.0;
                    return Ok(());
                }
                // Nothing is known yet that could be shown.
                Err(errno) => return Err(Error::io("read", root, errno.into())),
                Ok(_) => {}
            }
        }
        if self.ears.is_none() {
            let ears = DirWatcher::new();
            let is_limit = ears.as_ref().is_err_and(|errno| is_exhausted(*errno));
            self.limit = is_limit.then_some(Limit::Instances);
            self.ears = ears.ok();
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
        self.forget(&found, begun.saturating_sub(FORGET));
        for path in found {
            self.watch(&path);
        }
        let (least, times) = OFTEN;
        let took = clock::boot().saturating_sub(begun);
        let pause = if self.hears_all() && !is_any_busy { SELDOM } else { least };
        self.next_walk = clock::boot() + pause.max(took * times);
        self.next_look = self.next_look.min(clock::boot() + LOOK);
        Ok(())
    }

    /// Forgets all locks but these, those that were asked for, and those that were there since then.
    fn forget(&mut self, found: &BTreeSet<PathBuf>, then: Duration) {
        if self.only.is_none() {
            self.locks.retain(|path, watched| found.contains(path) || !watched.was_gone(then));
        }
    }

    /// Begins to watch a lock, or to listen to it again.
    fn watch(&mut self, path: &Path) {
        let known = self.locks.remove(path);
        let (is_new, hears) = (known.is_none(), self.hears_all());
        let mut watched = known.unwrap_or_else(|| Watched::new(path, hears));
        if !watched.is_busy() && !self.numbers.contains_key(path) {
            watched.by_looks(hears);
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
        let Some(ears) = &self.ears else { return };
        match ears.listen(path) {
            Ok(number) => {
                self.numbers.insert(path.to_owned(), number);
                self.places.insert(number, place(path.to_owned()));
            }
            Err(errno) if is_exhausted(errno) => {
                self.limit = Some(Limit::Watches);
                let soon = clock::boot() + OFTEN.0;
                (self.next_look, self.next_walk) = (Duration::ZERO, self.next_walk.min(soon));
            }
            // It is not there, or not to be read.
            Err(_) => {}
        }
    }

    fn hear(&mut self) {
        let mut all = Vec::new();
        if let Some(ears) = &self.ears {
            ears.heard(&mut |heard| all.push(heard));
        }
        for heard in all {
            match heard {
                Heard::AcquiredFrom(number, name, is_folder) => self.came(number, &name, is_folder),
                Heard::Went(number, name, is_moved) => self.went(number, &name, is_moved),
                Heard::Ended(number) => self.ended(number),
                Heard::Overflow => {
                    self.locks.values_mut().for_each(Watched::begin);
                    self.next_walk = Duration::ZERO;
                }
            }
        }
    }

    fn ended(&mut self, number: i32) {
        self.numbers.retain(|_, known| *known != number);
        if let Some(Place::Folder(_)) = self.places.remove(&number) {
            self.next_walk = Duration::ZERO;
        }
    }

    fn came(&mut self, number: i32, name: &OsStr, is_folder: bool) {
        let hears = self.hears_all();
        match self.places.get(&number) {
            Some(Place::Folder(folder)) => {
                let staged = self.staged.take_if(|(folder, _)| *folder == number);
                let path = folder.join(name);
                let queue_of = before(&path, SUFFIX).filter(|path| is_lock(path));
                if is_lock(&path) && self.is_wanted(&path) {
                    self.listen(&path, Place::Lock);
                    let watched = self.locks.entry(path.clone());
                    let watched = watched.or_insert_with(|| Watched::new(&path, hears));
                    watched.heard();
                    watched.came(staged.map(|(_, nonce)| nonce));
                } else if let Some(lock) = queue_of.filter(|lock| self.is_wanted(lock)) {
                    self.listen(&path, |_| Place::Queue(lock.clone()));
                    let watched = self.locks.entry(lock.clone());
                    watched.or_insert_with(|| Watched::new(&lock, hears)).look_at_queue();
                } else if is_folder && self.only.is_none() && !is_stage_name(name) {
                    self.next_walk = Duration::ZERO;
                }
            }
            Some(Place::Lock(path)) => {
                if let Some(watched) = self.locks.get_mut(path) {
                    watched.heard();
                    watched.entered(name);
                }
            }
            Some(Place::Queue(path)) => {
                if let Some(watched) = self.locks.get_mut(path) {
                    watched.heard();
                    watched.joined(name);
                }
            }
            None => {}
        }
    }

    fn went(&mut self, number: i32, name: &OsStr, is_moved: bool) {
        let Some(place) = self.places.get(&number) else { return };
        if let (Place::Folder(_), true) = (place, is_moved) {
            self.staged = nonce_of_stage(name).map(|nonce| (number, nonce));
        }
        let path = match place {
            Place::Folder(folder) => &folder.join(name),
            Place::Lock(path) | Place::Queue(path) => path,
        };
        let Some(watched) = self.locks.get_mut(path) else { return };
        watched.heard();
        match place {
            Place::Folder(_) => watched.went(),
            // What it is called now is told next.
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
    fn a_lock_that_is_gone_for_long_is_forgotten_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let roots = vec![folder.path().to_owned()];
        let mut folders = Folders::open(roots, None).unwrap();
        let lock = |name| Lock::new(folder.path().join(name)).acquire().unwrap();
        let (_there, gone) = (lock("there"), lock("gone"));
        folders.walk().unwrap();
        folders.told();
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
