//! Names that are URLs, and the engines that are registered for them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::engine::Engine;
use crate::error::Error;
use crate::status::{Status, printable};

/// The functions that open, list and clean the locks of a URL's scheme. All get the URL as the user
/// gave it, with its secrets; what they return or report must not contain these.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Scheme {
    /// The part before `://`, in lower case.
    pub name: &'static str,
    /// Opens the lock of this URL, with its timeout. Does not contact a server yet.
    pub open: fn(url: &str, timeout: Duration) -> Opened,
    /// Lists every lock below this URL, sorted by path.
    pub list: fn(url: &str) -> Result<Vec<Status>, Error>,
    /// Removes what crashes left behind below this URL, and returns what it removed.
    pub clean: fn(url: &str) -> Result<Vec<PathBuf>, Error>,
}

impl Scheme {
    /// Creates a scheme from its name and functions, which the fields describe.
    #[must_use]
    pub fn new(
        name: &'static str,
        open: fn(url: &str, timeout: Duration) -> Opened,
        list: fn(url: &str) -> Result<Vec<Status>, Error>,
        clean: fn(url: &str) -> Result<Vec<PathBuf>, Error>,
    ) -> Scheme {
        Scheme { name, open, list, clean }
    }
}

/// The result of opening a lock.
pub type Opened = Result<Arc<dyn Engine>, Error>;

/// The registered schemes, as a linked list of slots: a forked child finds each slot empty or full,
/// and no mutex locked.
static FIRST: Slot = Slot::new();

type Slot = OnceLock<Box<Registered>>;

struct Registered {
    scheme: Scheme,
    next: Slot,
}

/// Registers a scheme, so that [`Lock::new("SCHEME://...")`](crate::Lock::new),
/// [`list`](crate::list) and [`clean`](crate::clean) work with it in this process. A scheme that is
/// already registered stays as it is.
pub fn register(scheme: Scheme) {
    let mut slot = &FIRST;
    let mut new = Box::new(Registered { scheme, next: Slot::new() });
    loop {
        match slot.set(new) {
            Ok(()) => return,
            Err(again) => new = again,
        }
        match slot.get() {
            Some(there) if there.scheme.name == scheme.name => return,
            Some(there) => slot = &there.next,
            None => return,
        }
    }
}

/// Returns the name of the scheme, if this is a URL.
fn scheme_of(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-'));
    is_scheme.then_some(scheme)
}

/// Returns true if this name is a URL and not the path of a directory. A URL begins with a scheme:
/// a letter, then letters, digits and `+.-`, and then `://`.
///
/// ```
/// use lockbydir::engine::is_url;
///
/// assert!(is_url("etcd://host:2379/jobs"));
/// assert!(!is_url("./etcd://host:2379/jobs") && !is_url("/dev/shm/jobs"));
/// ```
#[must_use]
pub fn is_url(name: impl AsRef<Path>) -> bool {
    scheme_of(&name.as_ref().to_string_lossy()).is_some()
}

/// Formats a name for display: [`printable`](crate::printable), and without the user, password and
/// query of a URL.
///
/// ```
/// assert_eq!(lockbydir::engine::shown("etcd://me:secret@h1:1,h2:1/jobs?ca=x"), "etcd://h1:1,h2:1/jobs");
/// ```
#[must_use]
pub fn shown(name: impl AsRef<Path>) -> String {
    printable(without_secrets(&name.as_ref().to_string_lossy()))
}

/// Returns the registered scheme of this name, and the name as a URL; `None` for the path of a
/// directory.
pub(crate) fn registered(name: &Path) -> Result<Option<(Scheme, &str)>, Error> {
    // A name that has a scheme but is not UTF-8 is not meant as a path either.
    let lossy = name.to_string_lossy();
    let Some(scheme) = scheme_of(&lossy) else {
        return Ok(None);
    };
    let Some(url) = name.to_str() else {
        return Err(Error::usage(format!("`{}` cannot be a URL: it is no UTF-8", shown(name))));
    };
    match schemes().find(|known| known.name.eq_ignore_ascii_case(scheme)) {
        Some(found) => Ok(Some((found, url))),
        None => Err(no_engine(url, scheme)),
    }
}

fn schemes() -> impl Iterator<Item = Scheme> {
    let first = FIRST.get();
    std::iter::successors(first, |there| there.next.get()).map(|there| there.scheme)
}

fn no_engine(url: &str, scheme: &str) -> Error {
    let known: Vec<_> = schemes().map(|known| format!("`{}://`", known.name)).collect();
    let instead = match scheme {
        "etcd" => "it is in the crate `lockbydir-etcd`, whose `register` is called first; the program and the Python package have it by their feature `etcd`".into(),
        _ if known.is_empty() => "none is registered".into(),
        _ => format!("there is one for {}", known.join(", ")),
    };
    Error::usage(format!(
        "cannot use `{}`: there is no engine for `{scheme}://` names ({instead}); use a path",
        shown(url),
    ))
}

/// Removes the user, password and query from a URL. A path stays as it is.
fn without_secrets(url: &str) -> String {
    let Some(scheme) = scheme_of(url) else {
        return url.into();
    };
    let rest = &url[scheme.len() + "://".len()..];
    let (hosts, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (before, query) = hosts.split_at(hosts.find(['?', '#']).unwrap_or(hosts.len()));
    let hosts = match before.rsplit_once('@') {
        // This may be a password that contains a question mark, or a query that contains an `@`:
        // the two cannot be distinguished.
        _ if query.contains('@') => "...",
        Some((_, hosts)) => hosts,
        None => before,
    };
    let path = path.split(['?', '#']).next().filter(|_| query.is_empty()).unwrap_or("");
    format!("{scheme}://{hosts}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_begins_with_a_letter_and_ends_before_a_colon() {
        assert_eq!(scheme_of("etcd://h:1/jobs"), Some("etcd"));
        assert_eq!(scheme_of("a+b.c-1://"), Some("a+b.c-1"));
        for path in ["jobs", "/x/etcd://h/jobs", "./etcd://h", "://h", "1a://h", "a b://h", "a:/b"]
        {
            assert_eq!(scheme_of(path), None, "{path}");
        }
    }

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        for (url, shown) in [
            ("etcd://me:s3@cret@h1:1,h2:2/a/b?c=x#y", "etcd://h1:1,h2:2/a/b"),
            ("etcd://h1:1?password=x", "etcd://h1:1"),
            ("etcd://h1:1?password=x/y", "etcd://h1:1"),
            ("etcd://h1:1?password=x@y", "etcd://..."),
            ("etcd://me:what?@h1:1/a", "etcd://..."),
            ("etcd://h/a@b", "etcd://h/a@b"),
            ("some/pa?th@x", "some/pa?th@x"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
