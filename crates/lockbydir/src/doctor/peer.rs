//! The other one: a thread, a process. Takes orders, one at a time, and answers each. What it is asked
//! to do is in `orders.rs`; another host is in `meeting.rs`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::orders::execute;
use super::sandbox::Sandbox;
use super::{Other, ProbeError};
use crate::error::Error;
use crate::os::{Errno, fault};

/// Who does not answer for so long is not there any more.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// The other one, as the doctor works with it.
pub(super) trait Peer {
    fn other(&self) -> Other;

    /// Gives an order. Whatever it takes, we can do our own part meanwhile.
    fn tell(&mut self, order: &str) -> Result<(), ProbeError>;

    /// The answer to the last order.
    fn hear(&mut self) -> Result<String, ProbeError>;

    fn ask(&mut self, order: &str) -> Result<String, ProbeError> {
        self.tell(order)?;
        self.hear()
    }
}

fn silent(order: &str) -> ProbeError {
    ProbeError::Silent(order.split(',').next().unwrap_or_default().to_owned())
}

/// A thread of this process.
pub(super) struct ThreadHand {
    orders: Option<Sender<String>>,
    answers: Receiver<String>,
    last: String,
    thread: Option<JoinHandle<()>>,
}

impl ThreadHand {
    pub(super) fn start(room: &Path) -> Result<ThreadHand, ProbeError> {
        let room = Sandbox::enter(room)?;
        let (orders, given) = channel::<String>();
        let (give, answers) = channel();
        let work = move || {
            for order in given {
                if give.send(execute(&room, &order)).is_err() {
                    break;
                }
            }
        };
        let builder = thread::Builder::new().name("lockbydir-doctor".into());
        let thread = Some(builder.spawn(work).map_err(|_| Errno::AGAIN)?);
        Ok(ThreadHand { orders: Some(orders), answers, last: String::new(), thread })
    }
}

impl Peer for ThreadHand {
    fn other(&self) -> Other {
        Other::Thread
    }

    fn tell(&mut self, order: &str) -> Result<(), ProbeError> {
        self.last = order.to_owned();
        let orders = self.orders.as_ref().ok_or_else(|| silent(order))?;
        orders.send(order.to_owned()).map_err(|_| silent(order))
    }

    fn hear(&mut self) -> Result<String, ProbeError> {
        self.answers.recv_timeout(SILENCE).map_err(|_| silent(&self.last))
    }
}

impl Drop for ThreadHand {
    fn drop(&mut self) {
        // It has the room open, which some systems keep as long as somebody has.
        drop(self.orders.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A process that calls [`assist`]; it ends with this.
pub(super) struct ProcessHand {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    last: String,
}

impl ProcessHand {
    pub(super) fn start(mut command: Command, room: &Path) -> Result<ProcessHand, ProbeError> {
        let missing = || ProbeError::Silent("start".into());
        command.arg(room).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|_| missing())?;
        let orders = child.stdin.take();
        let out = child.stdout.take().ok_or_else(missing)?;
        let (give, answers) = channel();
        let listen = move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if give.send(line).is_err() {
                    break;
                }
            }
        };
        let builder = thread::Builder::new().name("lockbydir-doctor".into());
        let hand = ProcessHand { child, orders, answers, last: "begin".into() };
        builder.spawn(listen).map_err(|_| Errno::AGAIN)?;
        // It says that it has begun.
        hand.answers.recv_timeout(SILENCE).map_err(|_| missing())?;
        Ok(hand)
    }
}

impl Peer for ProcessHand {
    fn other(&self) -> Other {
        Other::Process
    }

    fn tell(&mut self, order: &str) -> Result<(), ProbeError> {
        self.last = order.to_owned();
        let orders = self.orders.as_mut().ok_or_else(|| silent(order))?;
        orders.write_all(format!("{order}\n").as_bytes()).map_err(|_| silent(order))
    }

    fn hear(&mut self) -> Result<String, ProbeError> {
        self.answers.recv_timeout(SILENCE).map_err(|_| silent(&self.last))
    }
}

impl Drop for ProcessHand {
    fn drop(&mut self) {
        // One that was stopped would not hear that there are no more orders.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other process of an [`Examination`](super::Examination): reads orders from its standard input,
/// a line each, and answers on its standard output, until there are no more. For
/// [`with_process`](super::Examination::with_process), whose last argument is the folder.
///
/// # Errors
/// When that folder cannot be entered, or is not a doctor's.
pub fn assist(folder: impl AsRef<Path>) -> Result<(), Error> {
    let folder = folder.as_ref();
    let room =
        Sandbox::enter(folder).map_err(|errno| Error::fault("assist in", folder, fault(errno)))?;
    let mut out = std::io::stdout().lock();
    let mut say = |answer: &str| {
        writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .map_err(|source| Error::io("answer in", folder, source))
    };
    say("ready")?;
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        say(&execute(&room, &order))?;
    }
    Ok(())
}
