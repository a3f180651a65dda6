//! Where events come from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lockbydir::engine::{is_url, shown};
use lockbydir::observe::{self, Observer};
use lockbydir::{Lock, printable};

use crate::error::Error;
use crate::event::{Event, What, seconds};

/// Tells what happens, now or in a recording.
pub trait Source: Send {
    /// Waits until something happens, so long at most, and tells it in its order.
    ///
    /// # Errors
    /// When it can tell no more.
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error>;

    /// What time it is where these things happen, in seconds since 1970.
    fn now(&self) -> f64 {
        seconds(SystemTime::now())
    }

    /// Nothing more will happen.
    fn is_over(&self) -> bool {
        false
    }

    /// All was told that was there at the beginning.
    fn is_whole(&self) -> bool {
        true
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        (**self).next(up_to)
    }

    fn now(&self) -> f64 {
        (**self).now()
    }

    fn is_over(&self) -> bool {
        (**self).is_over()
    }

    fn is_whole(&self) -> bool {
        (**self).is_whole()
    }
}

/// Locks as they are observed.
#[derive(Debug)]
pub struct Live {
    observer: Observer,
    /// What all paths begin with, as people see it; their names come after that. Of URLs on the same
    /// servers, what stands behind those.
    root: String,
    has_same_servers: bool,
    locks: Locks,
    /// Somebody wants to find locks by their names. Else these are not kept, for there is no end of
    /// them where each job has a lock of its own.
    keeps_names: bool,
    /// What is told before all else.
    first: Vec<Event>,
    /// Which limit was reached when it was said last.
    limit: Option<&'static str>,
}

/// The locks themselves, by the names under which a [`Live`] tells of them.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    /// URLs that were given, with secrets; what is seen of them is without.
    urls: Vec<String>,
    seen: Arc<Mutex<HashMap<String, PathBuf>>>,
}

impl Live {
    /// All locks below a folder or URL, called by their paths from there.
    ///
    /// # Errors
    /// As for [`Observer::of`].
    pub fn of(folder: impl AsRef<Path>) -> Result<Live, Error> {
        let folder = folder.as_ref();
        let observer = Observer::of(folder)?;
        if is_url(folder) {
            let url = shown(folder);
            let below = behind_servers(&url).unwrap_or("");
            let root = below.rfind('/').map_or("", |slash| &below[..=slash]).to_owned();
            let locks = Locks::given([folder]);
            return Ok(Live::new(observer, root, true, locks));
        }
        let root = std::path::absolute(folder).map_or_else(|_| String::new(), printable);
        let root = if root.ends_with('/') || root.is_empty() { root } else { root + "/" };
        Ok(Live::new(observer, root, false, Locks::default()))
    }

    /// These locks, whether they are there yet or not; called by their paths from the folder that
    /// they have in common, or by their URLs.
    ///
    /// # Errors
    /// As for [`Observer::of_locks`].
    pub fn of_locks<P: AsRef<Path>>(names: impl IntoIterator<Item = P>) -> Result<Live, Error> {
        let names: Vec<PathBuf> = names.into_iter().map(|name| name.as_ref().into()).collect();
        let observer = Observer::of_locks(&names)?;
        let locks = Locks::given(names.iter().map(PathBuf::as_path));
        let paths: Vec<PathBuf> =
            names.iter().map(|name| Lock::new(name).path()).collect::<Result<_, _>>()?;
        let root = common(&paths);
        let mut servers = paths.iter().map(|path| servers(&printable(path)));
        let first = servers.next().flatten();
        let has_same_servers = first.is_some() && servers.all(|other| other == first);
        let mut live = Live::new(observer, root, has_same_servers, locks);
        let at = seconds(SystemTime::now());
        for path in &paths {
            let lock = live.name(path);
            live.locks.saw(&lock, path);
            live.first.push(Event { at, lock, what: What::Appeared });
        }
        Ok(live)
    }

    fn new(observer: Observer, root: String, has_same_servers: bool, locks: Locks) -> Live {
        let (keeps_names, first) = (false, Vec::new());
        Live { observer, root, has_same_servers, locks, keeps_names, first, limit: None }
    }

    /// The locks that it tells of from now on.
    pub fn locks(&mut self) -> Locks {
        self.keeps_names = true;
        self.locks.clone()
    }

    /// What is to be said of a limit of the system that is reached, or not any more.
    fn limit(&mut self) -> Option<Event> {
        let before = std::mem::replace(&mut self.limit, self.observer.limit());
        match (before, self.limit) {
            (before, limit) if before == limit => None,
            (_, Some(why)) => Some(Event::said(why)),
            (_, None) => Some(Event::said("the limit is not reached any more: all is seen again")),
        }
    }

    /// An event in our words; none for what this version does not know.
    fn told(&self, seen: observe::Event) -> Option<Event> {
        let observe::Event { at, path, what, .. } = seen;
        let at = seconds(at);
        let what = What::of(what, &path)?;
        if what.said().is_some() {
            return Some(Event { at, lock: String::new(), what });
        }
        let lock = self.name(&path);
        if self.keeps_names {
            self.locks.saw(&lock, &path);
        }
        Some(Event { at, lock, what })
    }

    fn name(&self, path: &Path) -> String {
        let whole = printable(path.with_extension(""));
        let behind = behind_servers(&whole).filter(|_| self.has_same_servers);
        let below = behind.unwrap_or(&whole);
        below.strip_prefix(&self.root).unwrap_or(below).to_owned()
    }
}

impl Locks {
    fn given<'a>(names: impl IntoIterator<Item = &'a Path>) -> Locks {
        let urls = names.into_iter().filter(|name| is_url(name));
        let urls = urls.filter_map(|url| url.to_str().map(str::to_owned)).collect();
        Locks { urls, seen: Arc::default() }
    }

    /// The lock that is called so.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Lock> {
        let path = self.seen().get(name)?.clone();
        let shown = path.with_extension("");
        let url =
            shown.to_str().and_then(|url| self.urls.iter().find_map(|one| as_given(one, url)));
        Some(Lock::new(url.map_or(path, PathBuf::from)))
    }

    /// Nobody looks for these any more, until something is told of them.
    pub fn forget(&self, names: &[String]) {
        let mut seen = self.seen();
        for name in names {
            seen.remove(name);
        }
    }

    fn saw(&self, name: &str, path: &Path) {
        let mut seen = self.seen();
        if !seen.contains_key(name) {
            seen.insert(name.to_owned(), path.to_owned());
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, PathBuf>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scheme and servers of a URL.
fn servers(url: &str) -> Option<String> {
    let below = behind_servers(url)?;
    Some(url[..url.len() - below.len()].to_owned())
}

/// A URL without scheme and servers.
fn behind_servers(url: &str) -> Option<&str> {
    Some(url.split_once("://")?.1.split_once('/')?.1)
}

/// A URL as it is seen, with user, password and query of the one that was given, if it is below that.
fn as_given(given: &str, seen: &str) -> Option<String> {
    let (rest, query) = given.split_once('?').map_or((given, ""), |(rest, query)| (rest, query));
    let (scheme, rest) = rest.split_once("://")?;
    let (authority, below) = rest.split_once('/').unwrap_or((rest, ""));
    let below = below.strip_suffix('/').unwrap_or(below).strip_suffix(".lockdir").unwrap_or(below);
    let name = behind_servers(seen)?;
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    name.starts_with(below).then(|| format!("{scheme}://{authority}/{name}{query}"))
}

impl Source for Live {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let first = std::mem::take(&mut self.first);
        let up_to = if first.is_empty() { up_to } else { Duration::ZERO };
        let seen = self.observer.next(up_to)?;
        let limit = self.limit();
        let seen = seen.into_iter().filter_map(|event| self.told(event));
        Ok(first.into_iter().chain(seen).chain(limit).collect())
    }

    fn is_whole(&self) -> bool {
        self.first.is_empty() && self.observer.is_whole()
    }
}

/// The folder that all of these are in, as people see it, with a slash; nothing where some are URLs.
fn common(paths: &[PathBuf]) -> String {
    let folders = paths.iter().filter_map(|path| path.parent());
    let shared = folders.fold(None::<PathBuf>, |shared, folder| {
        Some(match shared {
            None => folder.into(),
            Some(shared) => {
                let both = shared.components().zip(folder.components());
                both.take_while(|(one, two)| one == two).map(|(one, _)| one).collect()
            }
        })
    });
    match shared.filter(|_| !paths.iter().any(is_url)).map(printable) {
        None => String::new(),
        Some(root) if root.ends_with('/') || root.is_empty() => root,
        Some(root) => root + "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_seen_is_opened_as_the_one_that_was_given() {
        let given = "etcd://me:secret@h1,h2/team/?ca=x";

        let opened = as_given(given, "etcd://h1:2379,h2:2379/team/jobs");

        assert_eq!(opened.as_deref(), Some("etcd://me:secret@h1,h2/team/jobs?ca=x"));
        assert_eq!(as_given(given, "etcd://h1:2379,h2:2379/other/jobs"), None);
        assert_eq!(as_given("etcd://h", "etcd://h:2379/a/b").as_deref(), Some("etcd://h/a/b"));
    }

    #[test]
    fn names_are_kept_for_who_asked_until_they_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut live = Live::of(folder.path()).expect("a folder of locks");
        let first = Lock::new(folder.path().join("first")).acquire().expect("a lock");
        assert!(!live.next(Duration::from_secs(10)).expect("events").is_empty());
        assert_eq!(live.locks.seen().len(), 0, "nobody asked");

        let locks = live.locks();
        let _other = Lock::new(folder.path().join("other")).acquire().expect("a lock");
        first.release().expect("released");
        while live.locks.seen().len() < 2 {
            live.next(Duration::from_secs(10)).expect("events");
        }

        assert!(locks.find("first").is_some());
        locks.forget(&["first".to_owned()]);
        assert!(locks.find("first").is_none());
        assert!(locks.find("other").is_some());
    }

    #[test]
    fn locks_that_were_named_are_found_before_anything_happens() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["one", "two"].map(|name| folder.path().join(name));

        let locks = Live::of_locks(names).expect("locks").locks();

        assert!(locks.find("one").is_some());
        assert!(locks.find("two").is_some());
    }
}
