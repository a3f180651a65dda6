//! The only place with an asynchronous runtime: one thread a process, started when it is first needed.
//! Callers wait on a channel, so that calls work from anywhere, even within another runtime.

use std::future::{Future, pending};
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;

use lockbydir::engine::ForkLocal;
use lockbydir::{Error, ErrorKind};
use tokio::runtime::{Builder, Handle};

/// The runtime of this process. A forked child has none of its parent's threads: it starts its own.
static RUNTIME: ForkLocal<Result<Handle, String>> = ForkLocal::new();

/// Starts the runtime. The thread is started here and not by the runtime, which panics if the system
/// refuses a thread.
fn start_runtime() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let work = move || runtime.block_on(pending::<()>());
    thread::Builder::new().name("lockbydir-etcd".into()).spawn(work)?;
    Ok(handle)
}

fn runtime() -> Result<&'static Handle, Error> {
    let made = RUNTIME.get_or_make(|| start_runtime().map_err(|error| error.to_string()));
    made.as_ref()
        .map_err(|why| Error::new(ErrorKind::Io, format!("cannot start the etcd thread: {why}")))
}

/// Checks that the system allows one more thread. The runtime starts one to look up the address of a
/// host, and panics if it cannot.
pub(crate) fn has_thread_to_look_up() -> io::Result<()> {
    let started = thread::Builder::new().name("lockbydir-etcd".into()).spawn(|| ())?;
    let _ = started.join();
    Ok(())
}

/// Runs `work` on the runtime's thread, and waits for it in the calling thread.
pub(crate) fn wait<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    let (sender, done) = sync_channel(1);
    runtime()?.spawn(async move { sender.send(work.await) });
    done.recv().map_err(|_| Error::new(ErrorKind::Io, "the etcd thread has panicked"))
}

/// Runs `work` on the runtime's thread, while the caller goes on.
pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) {
    // Without a runtime there are no leases to clean up either.
    if let Ok(runtime) = runtime() {
        runtime.spawn(work);
    }
}
