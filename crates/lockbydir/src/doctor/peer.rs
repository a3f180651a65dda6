//! The peer: a thread or a process. It takes orders, one at a time, and answers each. `orders.rs`
//! executes the orders; `meeting.rs` has the peer on another host.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::orders::execute;
use super::probe_error::ProbeError;
use super::report::Other;
use super::sandbox::Sandbox;
use crate::error::Error;
use crate::os::{Errno, fault};

/// How long the doctor waits for an answer; a peer that takes longer counts as gone.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A peer, as the doctor uses it.
pub(super) trait Peer {
    fn other(&self) -> Other;

    /// Sends an order. The doctor can do its own part while the peer executes it.
    fn send(&mut self, order: &str) -> Result<(), ProbeError>;

    /// Returns the answer to the last order.
    fn receive(&mut self) -> Result<String, ProbeError>;

    fn ask(&mut self, order: &str) -> Result<String, ProbeError> {
        self.send(order)?;
        self.receive()
    }
}

fn silent(order: &str) -> ProbeError {
    ProbeError::Silent(order.split(',').next().unwrap_or_default().to_owned())
}

/// A peer that is a thread of this process.
pub(super) struct ThreadPeer {
    orders: Option<Sender<String>>,
    answers: Receiver<String>,
    last: String,
    thread: Option<JoinHandle<()>>,
}

impl ThreadPeer {
    pub(super) fn start(sandbox: &Path) -> Result<ThreadPeer, ProbeError> {
        let sandbox = Sandbox::enter(sandbox)?;
        let (orders, received) = channel::<String>();
        let (give, answers) = channel();
        let work = move || {
            for order in received {
                if give.send(execute(&sandbox, &order)).is_err() {
                    break;
                }
            }
        };
        let builder = thread::Builder::new().name("lockbydir-doctor".into());
        let thread = Some(builder.spawn(work).map_err(|_| Errno::AGAIN)?);
        Ok(ThreadPeer { orders: Some(orders), answers, last: String::new(), thread })
    }
}

impl Peer for ThreadPeer {
    fn other(&self) -> Other {
        Other::Thread
    }

    fn send(&mut self, order: &str) -> Result<(), ProbeError> {
        self.last = order.to_owned();
        let orders = self.orders.as_ref().ok_or_else(|| silent(order))?;
        orders.send(order.to_owned()).map_err(|_| silent(order))
    }

    fn receive(&mut self) -> Result<String, ProbeError> {
        self.answers.recv_timeout(ANSWER_TIMEOUT).map_err(|_| silent(&self.last))
    }
}

impl Drop for ThreadPeer {
    fn drop(&mut self) {
        // The thread has the sandbox open, and some systems keep a directory as long as it is open.
        drop(self.orders.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A peer that is a process that calls [`assist`]; it is killed when this is dropped.
pub(super) struct ProcessPeer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    last: String,
}

impl ProcessPeer {
    pub(super) fn start(mut command: Command, sandbox: &Path) -> Result<ProcessPeer, ProbeError> {
        let missing = || ProbeError::Silent("start".into());
        command.arg(sandbox).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|_| missing())?;
        let orders = child.stdin.take();
        let out = child.stdout.take().ok_or_else(missing)?;
        let (give, answers) = channel();
        let read_answers = move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if give.send(line).is_err() {
                    break;
                }
            }
        };
        let builder = thread::Builder::new().name("lockbydir-doctor".into());
        let peer = ProcessPeer { child, orders, answers, last: "begin".into() };
        builder.spawn(read_answers).map_err(|_| Errno::AGAIN)?;
        // The process reports that it has started.
        peer.answers.recv_timeout(ANSWER_TIMEOUT).map_err(|_| missing())?;
        Ok(peer)
    }
}

impl Peer for ProcessPeer {
    fn other(&self) -> Other {
        Other::Process
    }

    fn send(&mut self, order: &str) -> Result<(), ProbeError> {
        self.last = order.to_owned();
        let orders = self.orders.as_mut().ok_or_else(|| silent(order))?;
        orders.write_all(format!("{order}\n").as_bytes()).map_err(|_| silent(order))
    }

    fn receive(&mut self) -> Result<String, ProbeError> {
        self.answers.recv_timeout(ANSWER_TIMEOUT).map_err(|_| silent(&self.last))
    }
}

impl Drop for ProcessPeer {
    fn drop(&mut self) {
        // A stopped process would not notice that there are no more orders.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs as the peer process of an [`Examination`](super::Examination): reads orders from standard
/// input, one per line, and answers on standard output, until the input ends. For
/// [`with_process`](super::Examination::with_process), whose last argument is the folder.
///
/// # Errors
/// If that folder cannot be entered, or is not a doctor's sandbox.
pub fn assist(folder: impl AsRef<Path>) -> Result<(), Error> {
    let folder = folder.as_ref();
    let sandbox =
        Sandbox::enter(folder).map_err(|errno| Error::fault("assist in", folder, fault(errno)))?;
    let mut out = std::io::stdout().lock();
    let mut answer_with = |answer: &str| {
        writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .map_err(|source| Error::io("answer in", folder, source))
    };
    answer_with("ready")?;
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        answer_with(&execute(&sandbox, &order))?;
    }
    Ok(())
}
