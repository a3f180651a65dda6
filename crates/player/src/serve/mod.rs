//! A page in a browser that shows a source live. The page changes nothing.
//!
//! This file has the life of the server; `feed.rs` turns a source into messages, once for all
//! viewers; `door.rs` decides who may see them, and where the server may listen; `strangers.rs`
//! limits what unadmitted connections cost, `connection.rs` and `web.rs` what viewers cost;
//! `web.rs` answers requests; `page.rs` assembles the page from the files in `page/`.

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

/// How long the threads of the runtime may take to end; then they are left behind.
const GRACE: Duration = Duration::from_millis(200);

/// How a page is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address and port to listen on; port 0 is any free one. An address that other machines
    /// can reach requires a token.
    pub listen: String,
    /// The token that viewers must know: at least 16 letters, digits and `-._~`.
    pub token: Option<String>,
    /// Other names under which the page can be reached, each with its port unless that is the
    /// default port of HTTP or HTTPS.
    pub hosts: Vec<String>,
    /// The title: what is shown, such as a folder.
    pub title: String,
    /// How long the page is served after the end of the source; `None` is until it is interrupted.
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

/// Serves the page until it is interrupted (Ctrl-C, `TERM`, `HUP`). `ready` is called with its
/// address as soon as it can be opened.
///
/// # Errors
/// When listening there is not allowed or fails, or the source cannot go on.
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

/// Checks that enough file descriptors are free, since the runtime panics where it gets none.
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

/// Checks that as many threads can be started as the runtime and the source need, since the runtime
/// panics where it can start none.
fn has_threads() -> Result<(), Error> {
    const NEEDED: usize = 6;
    let (hold, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let threads = (0..NEEDED).map(|_| {
        let held = std::sync::Arc::clone(&held);
        // Each lasts until all have started.
        spawn("trial", move || drop(held.lock().map(|held| held.recv())))
    });
    let threads: Result<Vec<_>, Error> = threads.collect();
    drop(hold);
    for thread in threads? {
        let _ = thread.join();
    }
    Ok(())
}

/// Returns how many file descriptors this process may have, after raising its soft limit as far as
/// is allowed and needed.
#[cfg(unix)]
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // All connections need at most this many. Child processes inherit the limit, so it is not
    // raised further.
    const ENOUGH: u64 = 1024;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = ENOUGH.min(maximum.unwrap_or(ENOUGH));
    let current = current.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(wanted), maximum };
    let is_raised = current < wanted && setrlimit(Resource::Nofile, raised).is_ok();
    usize::try_from(if is_raised { wanted } else { current }).unwrap_or(usize::MAX)
}

/// Returns no limit: handles are limited only by memory.
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

/// Returns a future that completes when the user or the system asks for the end.
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
