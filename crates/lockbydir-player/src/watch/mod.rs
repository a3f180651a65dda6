//! The terminal: shows a board, and obeys keys, until the user has seen enough.

use crate::error::Error;
use crate::source::{Locks, Source};

/// What is shown, and how.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// What all of it is; stands at the top.
    pub title: String,
    /// The locks themselves, where they can be broken: not in a recording.
    pub locks: Option<Locks>,
    /// Opens this lock at once.
    pub opened: Option<String>,
    /// Ends by itself some seconds after the source is over.
    pub ends: Option<std::time::Duration>,
}

impl Options {
    /// With this title, and nothing else.
    #[must_use]
    pub fn titled(title: impl Into<String>) -> Options {
        Options { title: title.into(), ..Options::default() }
    }
}

/// Shows what a source tells, on the terminal that standard output is, until the user quits.
///
/// # Errors
/// When the source can tell no more, or the terminal cannot be drawn on; [`Error::Interrupted`] when
/// a signal ended it. The terminal is as it was before, and what was shown last is printed.
pub fn show(source: Box<dyn Source>, options: Options) -> Result<(), Error> {
    let _ = (source, options);
    Ok(())
}

/// One frame, in characters only, so large.
///
/// # Errors
/// When the source can tell nothing.
pub fn once(mut source: Box<dyn Source>, width: u16, height: u16) -> Result<String, Error> {
    let _ = (source.next(std::time::Duration::ZERO)?, width, height);
    Ok(String::new())
}
