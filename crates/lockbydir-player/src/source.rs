//! Where events come from.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lockbydir::observe::Observer;
use lockbydir::printable;

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
}

/// Locks as they are observed.
#[derive(Debug)]
pub struct Live {
    observer: Observer,
    root: Option<PathBuf>,
}

impl Live {
    /// All locks below a folder or URL, called by their paths from there.
    ///
    /// # Errors
    /// As for [`Observer::of`].
    pub fn of(folder: impl AsRef<Path>) -> Result<Live, Error> {
        let folder = folder.as_ref();
        Ok(Live { observer: Observer::of(folder)?, root: std::path::absolute(folder).ok() })
    }

    /// These locks, called by their whole paths.
    ///
    /// # Errors
    /// As for [`Observer::of_locks`].
    pub fn of_locks<P: AsRef<Path>>(names: impl IntoIterator<Item = P>) -> Result<Live, Error> {
        Ok(Live { observer: Observer::of_locks(names)?, root: None })
    }

    fn name(&self, path: &Path) -> String {
        let within = self.root.as_ref().and_then(|root| path.strip_prefix(root).ok());
        let name = printable(within.unwrap_or(path));
        name.strip_suffix(".lockdir").map_or(name.clone(), str::to_owned)
    }
}

impl Source for Live {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let seen = self.observer.next(up_to)?;
        let events = seen.into_iter().filter_map(|event| {
            let (at, lock) = (seconds(event.at), self.name(&event.path));
            What::of(event.what).map(|what| Event { at, lock, what })
        });
        Ok(events.collect())
    }
}
