//! The command on Windows: in a job, which ends with us, and in a process group of its own, which can
//! be asked to end.

use std::ffi::OsString;
use std::io;
use std::os::windows::io::AsHandle;
use std::os::windows::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use lockbydir::Interrupt;
use lockbydir_windows::{Control, Job, interrupt_group, on_control, resume};

use super::Event;
use crate::exit::{CANNOT_RUN, Failure};

/// Flags of a new process: it does nothing until it is resumed; control events can be sent to it.
const SUSPENDED: u32 = 0x4;
const NEW_GROUP: u32 = 0x200;
/// The exit code of a program that Ctrl-C has ended.
const ENDED_BY_CONTROL: u32 = 0xC000_013A;
/// Windows ends whoever is told that its window, its session or the computer is closed, after 5 s or
/// as soon as it has heard it: so long the command and its release have.
const LAST_MOMENTS: Duration = Duration::from_millis(4500);

/// Passes on the control events that this process gets.
pub(crate) struct Signals {
    /// Raised when one came before there was a command.
    early: Interrupt,
    /// The number that a signal has which says the same.
    last: AtomicU8,
    /// The command's process, or 0.
    pid: AtomicU32,
    /// One could not be passed on, so the command has to end without being asked.
    is_deaf: AtomicBool,
}

impl Signals {
    /// Begins to watch; there is one for the process.
    pub(crate) fn watch() -> Arc<Signals> {
        static WATCHING: OnceLock<Arc<Signals>> = OnceLock::new();
        let begin = || {
            on_control(|control| {
                if let Some(signals) = WATCHING.get() {
                    signals.pass(control);
                }
            });
            Arc::new(Signals {
                early: Interrupt::new(),
                last: AtomicU8::new(0),
                pid: AtomicU32::new(0),
                is_deaf: AtomicBool::new(false),
            })
        };
        WATCHING.get_or_init(begin).clone()
    }

    pub(crate) fn early(&self) -> &Interrupt {
        &self.early
    }

    pub(crate) fn last(&self) -> u8 {
        self.last.load(Ordering::Acquire)
    }

    fn pass(&self, control: Control) {
        let (number, is_end) = match control {
            Control::C => (2, false),
            Control::Break => (21, false),
            Control::Close => (1, true),
        };
        self.last.store(number, Ordering::Release);
        match self.pid.load(Ordering::Acquire) {
            0 => self.early.raise(),
            // It has its own event of the end of its window.
            _ if is_end => {}
            pid => self.interrupt(pid),
        }
        if is_end {
            thread::sleep(LAST_MOMENTS);
        }
    }

    fn interrupt(&self, pid: u32) {
        if !interrupt_group(pid) {
            self.is_deaf.store(true, Ordering::Release);
        }
    }
}

/// The command.
pub(crate) struct Child {
    signals: Arc<Signals>,
    job: Job,
    events: Receiver<Event>,
}

impl Child {
    /// Starts the command. It is suspended until `named` has been told its PID, so that the lock names
    /// it before it does anything.
    pub(crate) fn spawn(
        command: &[OsString],
        variables: impl IntoIterator<Item = (&'static str, OsString)>,
        signals: &Arc<Signals>,
        named: impl FnOnce(u32) -> Result<(), Failure>,
    ) -> Result<Child, Failure> {
        let cannot =
            |error: io::Error| Failure::new(CANNOT_RUN, format!("cannot run the command: {error}"));
        let job = Job::new().map_err(|errno| cannot(errno.into()))?;
        let (tell, events) = channel();
        let mut prepared = Command::new(command.first().cloned().unwrap_or_default());
        prepared.args(command.iter().skip(1)).envs(variables).creation_flags(SUSPENDED | NEW_GROUP);
        match prepared.spawn() {
            Err(error) => {
                let _ = tell.send(Event::NotStarted(error));
            }
            Ok(mut child) => {
                let pid = child.id();
                let begun = job
                    .take(child.as_handle())
                    .map_err(|errno| cannot(errno.into()))
                    .and_then(|()| named(pid))
                    .and_then(|()| resume(pid).map_err(|errno| cannot(errno.into())));
                if let Err(failure) = begun {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failure);
                }
                signals.pid.store(pid, Ordering::Release);
                if signals.early.is_raised() {
                    signals.early.lower();
                    signals.interrupt(pid);
                }
                let passing = signals.clone();
                thread::spawn(move || live(child, &passing, &tell));
            }
        }
        Ok(Child { signals: signals.clone(), job, events })
    }

    /// What became of it, if anything within this time.
    pub(crate) fn event(&self, up_to: Duration) -> Option<Event> {
        if self.signals.is_deaf.load(Ordering::Acquire) {
            self.job.end(ENDED_BY_CONTROL);
        }
        self.events.recv_timeout(up_to).ok()
    }

    /// Ends it and all that it started: politely, or `hard`.
    pub(crate) fn end(&self, hard: bool) {
        if hard {
            self.job.end(1);
            return;
        }
        match self.signals.pid.load(Ordering::Acquire) {
            0 => {}
            // Where it cannot be asked, the hard end comes soon.
            pid => drop(interrupt_group(pid)),
        }
    }
}

/// Waits for the command's end.
fn live(mut child: std::process::Child, signals: &Signals, tell: &Sender<Event>) {
    let ended = child.wait();
    signals.pid.store(0, Ordering::Release);
    let _ = tell.send(match ended {
        Ok(status) => {
            let code = status.code().map_or(u32::from(CANNOT_RUN), i32::cast_unsigned);
            Event::Exited(code)
        }
        Err(error) => Event::NotStarted(error),
    });
}
