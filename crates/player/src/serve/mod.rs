//! A page in a browser that shows what a source tells, live. Nobody changes anything by it.
//!
//! Here is the life of the server; `feed.rs` makes of a source what is sent, once for all viewers;
//! `door.rs` says who may see it, and where it may listen; `strangers.rs` bounds what those cost who have
//! not shown that yet, `connection.rs` and `web.rs` what viewers cost;
//! `web.rs` answers them; `page.rs` puts the page together from the files in `page/`.

mod connection;
mod door;
mod feed;
mod page;
mod strangers;
mod web;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use self::connection::Connections;
use self::door::Door;
use self::feed::Feed;
use crate::background::spawn;
use crate::error::Error;
use crate::source::Source;

/// The runtime's own threads end so soon, whatever they are at.
const GRACE: Duration = Duration::from_millis(200);

/// How a page is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address and port to listen on; port 0 is any that is free. One that other machines can
    /// reach wants a token.
    pub listen: String,
    /// What who wants to see the page must know: at least 16 letters, digits and `-._~`.
    pub token: Option<String>,
    /// Other names under which the page is reached, each with its port where that is not the
    /// usual one.
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

/// Serves the page until it is interrupted (Ctrl-C, `TERM`, `HUP`); `ready` is told its address
/// as soon as it can be opened.
///
/// # Errors
/// When nobody may or can listen there, or the source can tell no more.
pub fn serve(
    source: Box<dyn Source>,
    options: Options,
    ready: impl FnOnce(&str),
) -> Result<(), Error> {
    let asked = door::address(&options.listen, options.token.as_deref())?;
    let failed = |cause| Error::Listen { address: options.listen.clone(), cause };
    let listener = TcpListener::bind(asked).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let door = Door::new(address, options.token.clone(), &options.hosts);

    let descriptors = descriptors();
    has_room(&listener).map_err(failed)?;
    has_threads()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(2).enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let (feed, ended) = Feed::start(source, &options.title, options.linger)?;
    let done = runtime.block_on(async {
        let connections = Connections::of(listener, descriptors).map_err(failed)?;
        let stop = stop().map_err(failed)?;
        ready(&url(address, options.token.as_deref()));
        let routes = web::routes(feed.clone(), door);
        let routes = routes.into_make_service_with_connect_info::<strangers::Pass>();
        let serving = axum::serve(connections, routes);
        tokio::select! {
            served = serving => served.map_err(failed),
            () = stop => Ok(()),
            result = ended => result.unwrap_or(Ok(())),
        }
    });
    feed.stop();
    runtime.shutdown_timeout(GRACE);
    done
}

/// The runtime panics where it finds no file descriptor for itself; so some are tried before.
fn has_room(listener: &TcpListener) -> std::io::Result<()> {
    const NEEDED: usize = strangers::OTHERS / 2;
    let some = (0..NEEDED).map(|_| listener.try_clone());
    some.collect::<std::io::Result<Vec<_>>>().map(drop).map_err(|cause| {
        let why = format!(
            "{cause}; a page needs {NEEDED} free file descriptors: raise the limit (ulimit -n)"
        );
        std::io::Error::new(cause.kind(), why)
    })
}

/// The runtime panics where it can start no thread; so as many as it and the source need are tried before.
fn has_threads() -> Result<(), Error> {
    const NEEDED: usize = 6;
    let (stays, goes) = std::sync::mpsc::sync_channel::<()>(0);
    let goes = std::sync::Arc::new(std::sync::Mutex::new(goes));
    let threads = (0..NEEDED).map(|_| {
        let goes = std::sync::Arc::clone(&goes);
        // Until all are there.
        spawn("trial", move || drop(goes.lock().map(|goes| goes.recv())))
    });
    let threads: Result<Vec<_>, Error> = threads.collect();
    drop(stays);
    for thread in threads? {
        let _ = thread.join();
    }
    Ok(())
}

/// How many file descriptors this process may have: as many as it may allow itself.
#[cfg(unix)]
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // As many as all connections need at most; who starts others with them needs no more either.
    const ENOUGH: u64 = 1024;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = ENOUGH.min(maximum.unwrap_or(ENOUGH));
    let current = current.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(wanted), maximum };
    let is_raised = current < wanted && setrlimit(Resource::Nofile, raised).is_ok();
    usize::try_from(if is_raised { wanted } else { current }).unwrap_or(usize::MAX)
}

/// Handles are as many as there is memory.
#[cfg(not(unix))]
fn descriptors() -> usize {
    usize::MAX
}

fn url(address: SocketAddr, token: Option<&str>) -> String {
    match token {
        Some(token) => format!("http://{address}/?token={token}"),
        None => format!("http://{address}/"),
    }
}

/// Until somebody wants it to end.
#[cfg(unix)]
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
