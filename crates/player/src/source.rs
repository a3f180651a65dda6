//! Sources of events.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lockbydir::engine::{is_url, shown};
use lockbydir::observe::{self, Observer};
use lockbydir::{Lock, printable};

use crate::error::Error;
use crate::event::{Event, What, seconds};

/// A source of events, live or recorded.
pub trait Source: Send {
    /// Waits for events, for `up_to` at most, and returns them in order.
    ///
    /// # Errors
    /// When the source cannot go on.
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error>;

    /// Returns the time of the source, in seconds since 1970; a recording has its own.
    fn now(&self) -> f64 {
        seconds(SystemTime::now())
    }

    /// Returns true if no more events will follow.
    fn is_over(&self) -> bool {
        false
    }

    /// Returns true if the state at the beginning has been reported completely.
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

/// Observed locks as a source.
#[derive(Debug)]
pub struct Live {
    observer: Observer,
    /// The common beginning of all paths, in printable form; the names of the locks are the rest.
    /// For URLs on the same servers, it is the common beginning of what follows the servers.
    root: String,
    has_same_servers: bool,
    locks: Locks,
    /// Whether [`Locks`] were asked for, so that names are kept. Otherwise they are not, since
    /// their number is unbounded where each job has a lock of its own.
    keeps_names: bool,
    /// Events that are returned before all others.
    first: Vec<Event>,
    /// The limit that was last reported as reached.
    limit: Option<&'static str>,
}

/// The locks of a [`Live`], by the names in its events.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    /// The URLs as given, with secrets; observed URLs have none.
    urls: Vec<String>,
    seen: Arc<Mutex<HashMap<String, PathBuf>>>,
}

impl Live {
    /// Observes all locks below a folder or URL; their names are their paths relative to it.
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

    /// Observes these locks, whether they exist yet or not. Their names are their paths relative to
    /// the folder that they have in common, or their URLs.
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

    /// Returns a handle that finds the locks of events from now on.
    pub fn locks(&mut self) -> Locks {
        self.keeps_names = true;
        self.locks.clone()
    }

    /// Returns a message when the observer reaches a limit of the system, and when the limit is no
    /// longer reached.
    fn limit(&mut self) -> Option<Event> {
        let before = std::mem::replace(&mut self.limit, self.observer.limit());
        match (before, self.limit) {
            (before, limit) if before == limit => None,
            (_, Some(why)) => Some(Event::said(why)),
            (_, None) => {
                Some(Event::said("the limit is no longer reached: every lock is seen again"))
            }
        }
    }

    /// Converts an observed event; returns `None` for what this version does not know.
    fn converted(&self, seen: observe::Event) -> Option<Event> {
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

    /// Finds the lock with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Lock> {
        let path = self.seen().get(name)?.clone();
        let shown = path.with_extension("");
        let url =
            shown.to_str().and_then(|url| self.urls.iter().find_map(|one| as_given(one, url)));
        Some(Lock::new(url.map_or(path, PathBuf::from)))
    }

    /// Drops these names until another event has them.
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

/// Returns scheme and servers of a URL, with the slash after them.
fn servers(url: &str) -> Option<String> {
    let below = behind_servers(url)?;
    Some(url[..url.len() - below.len()].to_owned())
}

/// Returns what follows the scheme and servers of a URL.
fn behind_servers(url: &str) -> Option<&str> {
    Some(url.split_once("://")?.1.split_once('/')?.1)
}

/// Returns an observed URL with the user, password and query of the given one, if it is below that.
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
        let seen = seen.into_iter().filter_map(|event| self.converted(event));
        Ok(first.into_iter().chain(seen).chain(limit).collect())
    }

    fn is_whole(&self) -> bool {
        self.first.is_empty() && self.observer.is_whole()
    }
}

/// Returns the deepest folder that contains all of these, printable and with a slash at its end; an
/// empty text if some are URLs.
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
    fn an_observed_url_is_opened_with_the_given_secrets() {
        let given = "etcd://me:secret@h1,h2/team/?ca=x";

        let opened = as_given(given, "etcd://h1:2379,h2:2379/team/jobs");

        assert_eq!(opened.as_deref(), Some("etcd://me:secret@h1,h2/team/jobs?ca=x"));
        assert_eq!(as_given(given, "etcd://h1:2379,h2:2379/other/jobs"), None);
        assert_eq!(as_given("etcd://h", "etcd://h:2379/a/b").as_deref(), Some("etcd://h/a/b"));
    }

    #[test]
    fn names_are_kept_on_request_until_forgotten() {
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
    fn given_locks_are_found_before_any_event() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["one", "two"].map(|name| folder.path().join(name));

        let locks = Live::of_locks(names).expect("locks").locks();

        assert!(locks.find("one").is_some());
        assert!(locks.find("two").is_some());
    }
}
