//! The command on Windows: in a job, which ends with this process, and in a process group of its own,
//! which can be asked to end.

use std::os::windows::io::AsHandle;
use std::os::windows::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use lockbydir::Interrupt;
use lockbydir_windows::{Control, Job, interrupt_group, on_control, resume};

use super::{Event, Plan, Signals, cannot_run};
use crate::exit::{CANNOT_RUN, Failure};

/// Flag of a new process: it does nothing until it is resumed.
const SUSPENDED: u32 = 0x4;
/// Flag of a new process: control events can be sent to it.
const NEW_GROUP: u32 = 0x200;
/// The exit code of a program that was ended by Ctrl-C.
const ENDED_BY_CONTROL: u32 = 0xC000_013A;
/// The number of the signal for a closed window: that of `SIGHUP`.
const CLOSE: u8 = 1;
/// The time that the command's end and the release have when the window, the session or the computer is
/// closed. Windows ends this process after 5 s, or as soon as its handler returns.
const LAST_MOMENTS: Duration = Duration::from_millis(4500);

/// The state of the control events that are passed on.
pub(super) struct System {
    /// An event could not be passed on, so the command has to end without being asked.
    cannot_interrupt: AtomicBool,
}

/// Does nothing: on Windows no process ignores the ends of its children.
pub(crate) fn learn_of_children() {}

/// Does nothing: on Windows the exit code reports it.
pub(crate) fn end_by(_: u8) {}

impl Signals {
    /// Starts to receive control events, once for the process.
    pub(crate) fn watch() -> Result<Arc<Signals>, Failure> {
        static WATCHING: OnceLock<Arc<Signals>> = OnceLock::new();
        let begin = || {
            on_control(|control| {
                if let Some(signals) = WATCHING.get() {
                    // The command gets an event of its own when its window is closed.
                    signals.pass(number(control), control == Control::Close);
                }
                if control == Control::Close {
                    thread::sleep(LAST_MOMENTS);
                }
            });
            Arc::new(Signals::new(
                Interrupt::new(),
                System { cannot_interrupt: AtomicBool::new(false) },
            ))
        };
        Ok(WATCHING.get_or_init(begin).clone())
    }

    /// Does the same: the system runs a thread for control events.
    pub(crate) fn receive() -> Result<Arc<Signals>, Failure> {
        Signals::watch()
    }

    /// Does nothing: the handler passes them on.
    pub(crate) fn collect(&self) {}

    /// Returns false: on Windows the exit code reports it.
    pub(crate) fn is_from_terminal(&self, _: u8) -> bool {
        false
    }
}

/// Returns the number of the signal with the same meaning.
fn number(control: Control) -> u8 {
    match control {
        Control::C => 2,
        Control::Break => 21,
        Control::Close => CLOSE,
    }
}

impl System {
    pub(super) fn is_for_commands_only(_: u8) -> bool {
        false
    }

    /// Returns nothing: the handler has passed them on.
    pub(super) fn take(&self) -> Vec<(u8, bool)> {
        Vec::new()
    }

    pub(super) fn arrived(&self) -> impl Iterator<Item = u8> {
        std::iter::empty()
    }

    pub(super) fn act_on(_: u8) {}

    /// Sends the command a control event.
    pub(super) fn send(&self, pid: u32, _: u8) {
        if !interrupt_group(pid) {
            self.cannot_interrupt.store(true, Ordering::Release);
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
    /// Nothing stops the command when the deadline passes.
    pub(crate) const STOPS_WHEN_LATE: bool = false;
    /// The job does not report when it is empty.
    pub(crate) const WAITS_FOR_ALL: bool = false;

    /// Starts the command. It is suspended until `named` has been called with its PID, so that the lock
    /// names it before it does anything.
    pub(crate) fn spawn(
        plan: Plan<'_>,
        signals: &Arc<Signals>,
        named: impl FnOnce(u32) -> Result<Duration, Failure>,
    ) -> Result<Child, Failure> {
        let job = Job::new().map_err(|errno| cannot_run(errno.into()))?;
        let (sender, events) = channel();
        let mut prepared = plan.prepared();
        prepared.creation_flags(SUSPENDED | NEW_GROUP);
        let starting = signals.starting();
        match prepared.spawn() {
            Err(error) => {
                let _ = sender.send(Event::NotStarted(error));
            }
            Ok(mut child) => {
                let pid = child.id();
                let begun = job
                    .take(child.as_handle())
                    .map_err(|errno| cannot_run(errno.into()))
                    .and_then(|()| named(pid))
                    .and_then(|_| resume(pid).map_err(|errno| cannot_run(errno.into())));
                if let Err(failure) = begun {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failure);
                }
                starting.begun(pid);
                let passing = signals.clone();
                let wait = move || wait_for_end(child, &passing, &sender);
                // The job ends with this process, and the command with it.
                thread::Builder::new().name("command".into()).spawn(wait).map_err(cannot_run)?;
            }
        }
        Ok(Child { signals: signals.clone(), job, events })
    }

    /// Waits up to this long for the next event of the command.
    pub(crate) fn event(&mut self, up_to: Duration) -> Option<Event> {
        if self.signals.system().cannot_interrupt.load(Ordering::Acquire) {
            self.job.end(ENDED_BY_CONTROL);
        }
        self.events.recv_timeout(up_to).ok()
    }

    pub(crate) fn have_all_ended(&mut self, _: Duration) -> bool {
        true
    }

    /// Does nothing: no supervisor enforces the deadline.
    pub(crate) fn set_deadline(&mut self, _: Duration) {}

    /// Asks the command to end. Where it cannot be asked, it is killed after the grace.
    pub(crate) fn ask_to_end(&mut self) {
        let _ = self.signals.command().map(interrupt_group);
    }

    /// Ends the command and all that it started. Returns the PIDs of those that could not be ended: on
    /// Windows none.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        self.job.end(1);
        Vec::new()
    }

    /// Does nothing: no supervisor follows what the command has started.
    pub(crate) fn leave(&mut self) {}

    pub(crate) fn finish(self) {}
}

/// Waits until the command ends, and reports it.
fn wait_for_end(mut child: std::process::Child, signals: &Signals, sender: &Sender<Event>) {
    let ended = child.wait();
    signals.end();
    let _ = sender.send(match ended {
        Ok(status) => {
            let code = status.code().map_or(u32::from(CANNOT_RUN), i32::cast_unsigned);
            Event::Ended { code, signal: None }
        }
        Err(error) => Event::NotStarted(error),
    });
}
