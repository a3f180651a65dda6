//! The command on macOS: in a process group of its own where there is no terminal. Signals are sent to
//! it directly, and its descendants are found by their parents. It is type-checked; nobody has run it yet.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use lockbydir::Interrupt;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, kill_process_group, setpgid};
use signal_hook::consts::signal::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
};
use signal_hook::flag;
use signal_hook::iterator::Signals as Received;
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System as Processes};

use super::{Event, Plan, Signals, cannot_run};
use crate::exit::{CANNOT_RUN, Failure, IO, SIGNAL};

/// The state of signals on this system.
pub(super) struct System {
    has_terminal: bool,
    /// Signals that a terminal sends to the whole group, each with a flag that its handler sets at once.
    group_signals: Vec<(u8, Arc<AtomicBool>)>,
}

/// Does nothing: a caller that ignores the ends of its children is not handled on macOS yet.
pub(crate) fn learn_of_children() {}

/// Does nothing: on macOS the exit code reports the signal.
pub(crate) fn end_by(_: u8) {}

impl Signals {
    /// Starts a thread that receives signals.
    pub(crate) fn watch() -> Result<Arc<Signals>, Failure> {
        let has_terminal = File::open("/dev/tty").is_ok();
        // On a terminal the command is in this process's group: the terminal stops and continues both.
        let stops: &[i32] = if has_terminal { &[] } else { &[SIGTSTP, SIGCONT] };
        let mut group_signals = Vec::new();
        let by_terminal: &[i32] = if has_terminal { &[SIGINT, SIGQUIT] } else { &[] };
        for &signal in by_terminal {
            let arrived = Arc::new(AtomicBool::new(false));
            if flag::register(signal, arrived.clone()).is_ok() {
                group_signals.push((u8::try_from(signal).unwrap_or(0), arrived));
            }
        }
        let signals =
            Arc::new(Signals::new(Interrupt::new(), System { has_terminal, group_signals }));
        let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2].iter().chain(stops);
        let cannot = |error: io::Error| {
            Failure::new(IO, format!("cannot watch for signals: {error}; free some resources"))
        };
        let mut received = Received::new(wanted).map_err(cannot)?;
        let passing = signals.clone();
        let pass = move |number| {
            let number = u8::try_from(number).unwrap_or(0);
            passing.pass(number, passing.system().is_sent_to_group(number));
        };
        let forever = move || received.forever().for_each(pass);
        thread::Builder::new().name("signals".into()).spawn(forever).map_err(cannot)?;
        Ok(signals)
    }

    /// Does the same: a thread receives signals.
    pub(crate) fn receive() -> Result<Arc<Signals>, Failure> {
        Signals::watch()
    }

    /// Does nothing: the thread passes them on.
    pub(crate) fn collect(&self) {}

    /// Returns false: on macOS the exit code reports the signal.
    pub(crate) fn is_from_terminal(&self, _: u8) -> bool {
        false
    }
}

impl System {
    /// Whether the signal only stops or continues: without a command it concerns this process alone.
    pub(super) fn is_for_commands_only(number: u8) -> bool {
        matches!(i32::from(number), SIGTSTP | SIGCONT)
    }

    /// Whether the terminal sends this signal to the whole group itself.
    fn is_sent_to_group(&self, number: u8) -> bool {
        self.group_signals.iter().any(|(sent, _)| *sent == number)
    }

    /// Returns nothing: the thread takes them.
    pub(super) fn take(&self) -> Vec<(u8, bool)> {
        Vec::new()
    }

    /// Returns the group's signals that have arrived, even if the receiving thread has not seen them yet.
    pub(super) fn arrived(&self) -> impl Iterator<Item = u8> {
        let arrived = self.group_signals.iter().filter(|(_, flag)| flag.load(Ordering::Acquire));
        arrived.map(|(number, _)| *number)
    }

    /// Applies the signal to this process itself.
    pub(super) fn act_on(number: u8) {
        if i32::from(number) == SIGTSTP {
            let _ = kill_process(getpid(), Signal::STOP);
        }
    }

    /// Sends the signal to the command.
    pub(super) fn send(&self, pid: u32, number: u8) {
        if let Some(signal) = Signal::from_named_raw(number.into()) {
            self.kill(pid, signal);
        }
    }

    fn kill(&self, pid: u32, signal: Signal) {
        let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return };
        let _ = if self.has_terminal {
            kill_process(pid, signal)
        } else {
            kill_process_group(pid, signal)
        };
    }
}

/// The command.
pub(crate) struct Child {
    signals: Arc<Signals>,
    events: Receiver<Event>,
}

/// The bytes that let the command's process begin once the lock names it, or end.
const GO: u8 = b'+';
const STOP: u8 = b'-';

impl Child {
    /// Nothing stops the command when the deadline passes.
    pub(crate) const STOPS_WHEN_LATE: bool = false;
    /// A process that has left the command's tree is not found any more.
    pub(crate) const WAITS_FOR_ALL: bool = false;

    /// Starts the command. Its process first waits until `named` has been called with its PID, so that the
    /// lock names it before it does anything.
    pub(crate) fn spawn(
        plan: Plan<'_>,
        signals: &Arc<Signals>,
        named: impl FnOnce(u32) -> Result<Duration, Failure>,
    ) -> Result<Child, Failure> {
        let (pid_out, pid_in) = io::pipe().map_err(cannot_run)?;
        let (go_out, go_in) = io::pipe().map_err(cannot_run)?;

        let mut prepared = plan.prepared();
        let own_group = !signals.system().has_terminal;
        let gate = Gate { own_group, parent: getpid(), pid_in, go_out };
        pass_gate(&mut prepared, gate);
        let (sender, events) = channel();
        let passing = signals.clone();
        let run = move || run_to_end(prepared, &passing, &sender);
        thread::Builder::new().name("command".into()).spawn(run).map_err(cannot_run)?;

        let mut pid = [0; 4];
        if rustix::io::read(&pid_out, &mut pid) == Ok(4) {
            let done = named(u32::from_ne_bytes(pid));
            let byte = if done.is_ok() { GO } else { STOP };
            let _ = rustix::io::write(&go_in, &[byte]);
            if let Err(failure) = done {
                let _ = events.recv();
                return Err(failure);
            }
        }
        Ok(Child { signals: signals.clone(), events })
    }

    /// Waits up to this long for the next event of the command.
    pub(crate) fn event(&mut self, up_to: Duration) -> Option<Event> {
        self.events.recv_timeout(up_to).ok()
    }

    pub(crate) fn have_all_ended(&mut self, _: Duration) -> bool {
        true
    }

    /// Does nothing: no supervisor enforces the deadline.
    pub(crate) fn set_deadline(&mut self, _: Duration) {}

    /// Asks the command and all that it started to end.
    pub(crate) fn ask_to_end(&mut self) {
        self.signal_all(false);
    }

    /// Ends the command and all that it started. Returns the PIDs of those that could not be ended.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        self.signal_all(true);
        Vec::new()
    }

    /// Does nothing: no supervisor follows what the command has started.
    pub(crate) fn leave(&mut self) {}

    pub(crate) fn finish(self) {}

    fn signal_all(&self, hard: bool) {
        let signal = if hard { Signal::KILL } else { Signal::TERM };
        if let Some(pid) = self.signals.command() {
            self.signals.system().kill(pid, signal);
            let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, Signal::CONT));
        }
        // New processes may start during the search, so a kill is repeated; a request is sent only once.
        for _ in 0..if hard { 16 } else { 1 } {
            let found = descendants(getpid());
            if found.is_empty() {
                break;
            }
            for pid in found {
                let _ = kill_process(pid, signal);
                let _ = kill_process(pid, Signal::CONT);
            }
        }
    }
}

/// Runs the command to its end.
fn run_to_end(mut prepared: Command, signals: &Signals, sender: &Sender<Event>) {
    // Until its process has become the command, the handlers of this process run in it.
    let starting = signals.starting();
    let event = match prepared.spawn() {
        Err(error) => {
            drop(starting);
            Event::NotStarted(error)
        }
        Ok(mut child) => {
            starting.begun(child.id());
            let ended = child.wait();
            signals.end();
            match ended {
                Ok(status) => {
                    let signal = status.signal().map(|number| i32::from(SIGNAL) + number);
                    let code = status.code().or(signal).unwrap_or(i32::from(CANNOT_RUN));
                    let code = u32::try_from(code).unwrap_or(u8::MAX.into());
                    let signal = status.signal().and_then(|number| u8::try_from(number).ok());
                    Event::Ended { code, signal }
                }
                Err(error) => Event::NotStarted(error),
            }
        }
    };
    let _ = sender.send(event);
}

/// The gate that a new process passes before it becomes the command.
struct Gate {
    own_group: bool,
    parent: Pid,
    pid_in: PipeWriter,
    go_out: PipeReader,
}

impl Gate {
    fn pass(&self) -> io::Result<()> {
        if self.own_group {
            setpgid(None, None)?;
        }
        if getppid() != Some(self.parent) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let pid = getpid().as_raw_nonzero().get().to_ne_bytes();
        rustix::io::write(&self.pid_in, &pid)?;
        let mut word = [0];
        loop {
            match rustix::io::read(&self.go_out, &mut word) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(1) if word[0] == GO => return Ok(()),
                _ => return Err(io::ErrorKind::Interrupted.into()),
            }
        }
    }
}

#[expect(unsafe_code, reason = "the only way to do something in a process before it is a command")]
fn pass_gate(prepared: &mut Command, gate: Gate) {
    // SAFETY: between fork and exec only async-signal-safe calls are made: setpgid,
    // getppid, getpid, read and write, on descriptors that stay open as long as the closure;
    // nothing is allocated and no lock is taken.
    unsafe { prepared.pre_exec(move || gate.pass()) };
}

/// Returns all descendants of a process, found by their parents.
fn descendants(root: Pid) -> Vec<Pid> {
    let parents = parents();
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

/// Returns all living processes, each with its parent.
fn parents() -> Vec<(i32, i32)> {
    let mut system = Processes::new();
    let (all, little) = (ProcessesToUpdate::All, ProcessRefreshKind::nothing());
    system.refresh_processes_specifics(all, true, little);
    let living =
        system.processes().iter().filter(|(_, found)| found.status() != ProcessStatus::Zombie);
    let pairs = living.filter_map(|(pid, found)| {
        let number = |pid: sysinfo::Pid| i32::try_from(pid.as_u32()).ok();
        Some((number(*pid)?, number(found.parent()?)?))
    });
    pairs.collect()
}
