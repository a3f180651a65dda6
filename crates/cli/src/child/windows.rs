//! The command on Windows: in a job, which ends with us, and in a process group of its own, which can
//! be asked to end.

use std::io;
use std::os::windows::io::AsHandle;
use std::os::windows::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use lockbydir_windows::{Control, Job, interrupt_group, on_control, resume};

use super::{Event, Plan, Signals};
use crate::exit::{CANNOT_RUN, Failure};

/// Flags of a new process: it does nothing until it is resumed; control events can be sent to it.
const SUSPENDED: u32 = 0x4;
const NEW_GROUP: u32 = 0x200;
/// The exit code of a program that Ctrl-C has ended.
const ENDED_BY_CONTROL: u32 = 0xC000_013A;
/// The number of the signal that says that the window is closed.
const CLOSE: u8 = 1;
/// Windows ends whoever is told that its window, its session or the computer is closed, after 5 s or
/// as soon as it has heard it: so long the command and its release have.
const LAST_MOMENTS: Duration = Duration::from_millis(4500);

/// What became of the control events that were passed on.
pub(super) struct System {
    /// One could not be, so the command has to end without being asked.
    is_deaf: AtomicBool,
}

/// Here nobody ignores the ends of its children.
pub(crate) fn learn_of_children() {}

/// Here the exit code says it.
pub(crate) fn end_by(_: u8) {}

impl Signals {
    /// Begins to watch; there is one for the process.
    pub(crate) fn watch() -> Result<Arc<Signals>, Failure> {
        static WATCHING: OnceLock<Arc<Signals>> = OnceLock::new();
        let begin = || {
            on_control(|control| {
                if let Some(signals) = WATCHING.get() {
                    // The command has its own event of the end of its window.
                    signals.pass(number(control), control == Control::Close);
                }
                if control == Control::Close {
                    thread::sleep(LAST_MOMENTS);
                }
            });
            Arc::new(Signals::new(System { is_deaf: AtomicBool::new(false) }))
        };
        Ok(WATCHING.get_or_init(begin).clone())
    }

    /// Here the exit code says it.
    pub(crate) fn is_from_terminal(&self, _: u8) -> bool {
        false
    }
}

/// The number of a signal that says the same.
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

    pub(super) fn have_come(&self) -> impl Iterator<Item = u8> {
        std::iter::empty()
    }

    pub(super) fn follow(_: u8) {}

    pub(super) fn tell(&self, pid: u32, _: u8) {
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
    /// Nothing stops it when the deadline passes.
    pub(crate) const STOPS_WHEN_LATE: bool = false;
    /// The job does not say when it is empty.
    pub(crate) const WAITS_FOR_ALL: bool = false;

    /// Starts the command. It is suspended until `named` was given its PID, so that the lock names it
    /// before it does anything.
    pub(crate) fn spawn(
        plan: Plan<'_>,
        signals: &Arc<Signals>,
        named: impl FnOnce(u32) -> Result<Duration, Failure>,
    ) -> Result<Child, Failure> {
        let cannot =
            |error: io::Error| Failure::new(CANNOT_RUN, format!("cannot run the command: {error}"));
        let job = Job::new().map_err(|errno| cannot(errno.into()))?;
        let (tell, events) = channel();
        let mut prepared = Command::new(plan.command.first().cloned().unwrap_or_default());
        prepared.args(plan.command.iter().skip(1)).envs(plan.variables);
        prepared.creation_flags(SUSPENDED | NEW_GROUP);
        let starting = signals.starting();
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
                    .and_then(|_| resume(pid).map_err(|errno| cannot(errno.into())));
                if let Err(failure) = begun {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failure);
                }
                starting.begun(pid);
                let passing = signals.clone();
                let live = move || live(child, &passing, &tell);
                // The job ends with us, and the command with it.
                thread::Builder::new().name("command".into()).spawn(live).map_err(cannot)?;
            }
        }
        Ok(Child { signals: signals.clone(), job, events })
    }

    /// What became of it, if anything within this time.
    pub(crate) fn event(&mut self, up_to: Duration) -> Option<Event> {
        if self.signals.system().is_deaf.load(Ordering::Acquire) {
            self.job.end(ENDED_BY_CONTROL);
        }
        self.events.recv_timeout(up_to).ok()
    }

    pub(crate) fn have_all_ended(&mut self, _: Duration) -> bool {
        true
    }

    /// Nobody else keeps it in time.
    pub(crate) fn set_deadline(&mut self, _: Duration) {}

    /// Asks it to end. Where it cannot be asked, the hard end comes soon.
    pub(crate) fn ask_to_end(&mut self) {
        let _ = self.signals.command().map(interrupt_group);
    }

    /// Ends it and all that it started. The PIDs of those that could not be ended: here there are none.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        self.job.end(1);
        Vec::new()
    }

    /// Nobody else looks after what it has started.
    pub(crate) fn leave(&mut self) {}

    pub(crate) fn finish(self) {}
}

/// Waits for the command's end.
fn live(mut child: std::process::Child, signals: &Signals, tell: &Sender<Event>) {
    let ended = child.wait();
    signals.end();
    let _ = tell.send(match ended {
        Ok(status) => {
            let code = status.code().map_or(u32::from(CANNOT_RUN), i32::cast_unsigned);
            Event::Ended { code, signal: None }
        }
        Err(error) => Event::NotStarted(error),
    });
}
