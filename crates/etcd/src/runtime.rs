//! The only place with an asynchronous runtime: one thread a process, made when it is first
//! needed. Whoever calls waits on a channel, so that it works from anywhere, within another
//! runtime too.

use std::future::{Future, pending};
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;

use lockbydir::engine::ForkLocal;
use lockbydir::{Error, ErrorKind};
use tokio::runtime::{Builder, Handle};

/// A forked child has none of its parent's threads: it makes its own.
static RUNTIME: ForkLocal<Result<Handle, String>> = ForkLocal::new();

/// The thread is started here and not by the runtime, which panics where the system gives no thread.
fn made() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let work = move || runtime.block_on(pending::<()>());
    thread::Builder::new().name("lockbydir-etcd".into()).spawn(work)?;
    Ok(handle)
}

fn runtime() -> Result<&'static Handle, Error> {
    let made = RUNTIME.get_or_make(|| made().map_err(|error| error.to_string()));
    made.as_ref().map_err(|why| {
        Error::new(ErrorKind::Io, format!("cannot start a thread for talking to etcd: {why}"))
    })
}

/// Does the system give one more thread? The runtime starts one to look up the address of a host, and
/// panics if it gets none.
pub(crate) fn has_thread_to_look_up() -> io::Result<()> {
    let started = thread::Builder::new().name("lockbydir-etcd".into()).spawn(|| ())?;
    let _ = started.join();
    Ok(())
}

/// Waits for this in the calling thread, while the runtime's works at it.
pub(crate) fn wait<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    let (told, done) = sync_channel(1);
    runtime()?.spawn(async move { told.send(work.await) });
    done.recv().map_err(|_| {
        Error::new(ErrorKind::Io, "the thread that talks to etcd has died of a fault of its own")
    })
}

/// Lets the runtime work at this while the caller goes on.
pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) {
    // Without a runtime there is nothing to tidy up either.
    if let Ok(runtime) = runtime() {
        runtime.spawn(work);
    }
}
