//! The only place with an asynchronous runtime: one thread a process, made when it is first
//! needed. Whoever calls waits on a channel, so that it works from anywhere, within another
//! runtime too.

use std::future::Future;
use std::sync::mpsc::sync_channel;

use lockbydir::engine::Own;
use lockbydir::{Error, ErrorKind};
use tokio::runtime::{Builder, Runtime};

/// A forked child has none of its parent's threads: it makes its own.
static RUNTIME: Own<Result<Runtime, String>> = Own::new();

fn runtime() -> Result<&'static Runtime, Error> {
    let made = RUNTIME.get_or_make(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lockbydir-etcd")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|why| {
        Error::new(ErrorKind::Io, format!("cannot start a thread for talking to etcd: {why}"))
    })
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
