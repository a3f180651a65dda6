//! The command on macOS: in a process group of its own where there is no terminal, sent signals, its
//! descendants found by their parents. It is type-checked; nobody has run it yet.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, getppid, kill_process, kill_process_group, setpgid};
use signal_hook::consts::signal::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
};
use signal_hook::flag;
use signal_hook::iterator::Signals as Received;
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System as Processes};

use super::{Event, Plan, Signals};
use crate::exit::{CANNOT_RUN, Failure, IO, SIGNAL};

/// How signals come here.
pub(super) struct System {
    has_terminal: bool,
    /// Whether those that a terminal tells the whole group have come: known as soon as they do.
    told_by_terminal: Vec<(u8, Arc<AtomicBool>)>,
}

/// Who ignores the ends of its children is not met here yet.
pub(crate) fn learn_of_children() {}

/// Here the exit code says it.
pub(crate) fn end_by(_: u8) {}

impl Signals {
    /// Begins to watch, from a thread of its own.
    pub(crate) fn watch() -> Result<Arc<Signals>, Failure> {
        let has_terminal = File::open("/dev/tty").is_ok();
        // On a terminal the command is in our own group: the terminal stops and continues both.
        let stops: &[i32] = if has_terminal { &[] } else { &[SIGTSTP, SIGCONT] };
        let mut told_by_terminal = Vec::new();
        let by_terminal: &[i32] = if has_terminal { &[SIGINT, SIGQUIT] } else { &[] };
        for &signal in by_terminal {
            let has_come = Arc::new(AtomicBool::new(false));
            if flag::register(signal, has_come.clone()).is_ok() {
                told_by_terminal.push((u8::try_from(signal).unwrap_or(0), has_come));
            }
        }
        let signals = Arc::new(Signals::new(System { has_terminal, told_by_terminal }));
        let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2].iter().chain(stops);
        let cannot = |error: io::Error| {
            Failure::new(IO, format!("cannot watch for signals: {error}; free some resources"))
        };
        let mut received = Received::new(wanted).map_err(cannot)?;
        let passing = signals.clone();
        let pass = move |number| {
            let number = u8::try_from(number).unwrap_or(0);
            passing.pass(number, passing.system().is_heard_anyway(number));
        };
        let forever = move || received.forever().for_each(pass);
        thread::Builder::new().name("signals".into()).spawn(forever).map_err(cannot)?;
        Ok(signals)
    }

    /// Here the exit code says it.
    pub(crate) fn is_from_terminal(&self, _: u8) -> bool {
        false
    }
}

impl System {
    /// Without a command it stops or continues us, and nobody else.
    pub(super) fn is_for_commands_only(number: u8) -> bool {
        matches!(i32::from(number), SIGTSTP | SIGCONT)
    }

    /// The terminal has told the whole group already.
    fn is_heard_anyway(&self, number: u8) -> bool {
        self.told_by_terminal.iter().any(|(told, _)| *told == number)
    }

    /// Those of these that have come, though nobody may have been told yet.
    pub(super) fn have_come(&self) -> impl Iterator<Item = u8> {
        let come =
            self.told_by_terminal.iter().filter(|(_, has_come)| has_come.load(Ordering::Acquire));
        come.map(|(number, _)| *number)
    }

    /// What we do about it ourselves.
    pub(super) fn follow(number: u8) {
        if i32::from(number) == SIGTSTP {
            let _ = kill_process(getpid(), Signal::STOP);
        }
    }

    pub(super) fn tell(&self, pid: u32, number: u8) {
        if let Some(signal) = Signal::from_named_raw(number.into()) {
            self.send(pid, signal);
        }
    }

    fn send(&self, pid: u32, signal: Signal) {
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

/// What the command's process is told once the lock names it.
const GO: u8 = b'+';
const STOP: u8 = b'-';

impl Child {
    /// Nothing stops it when the deadline passes.
    pub(crate) const STOPS_WHEN_LATE: bool = false;
    /// What has left the command is not found any more.
    pub(crate) const WAITS_FOR_ALL: bool = false;

    /// Starts the command. Its process first waits until `named` was given its PID, so that the lock
    /// names it before it does anything.
    pub(crate) fn spawn(
        plan: Plan<'_>,
        signals: &Arc<Signals>,
        named: impl FnOnce(u32) -> Result<Duration, Failure>,
    ) -> Result<Child, Failure> {
        let cannot =
            |error: io::Error| Failure::new(CANNOT_RUN, format!("cannot run the command: {error}"));
        let (pid_out, pid_in) = io::pipe().map_err(cannot)?;
        let (go_out, go_in) = io::pipe().map_err(cannot)?;

        let mut prepared = Command::new(plan.command.first().cloned().unwrap_or_default());
        prepared.args(plan.command.iter().skip(1)).envs(plan.variables);
        let own_group = !signals.system().has_terminal;
        let gate = Gate { own_group, parent: getpid(), pid_in, go_out };
        pass_gate(&mut prepared, gate);
        let (tell, events) = channel();
        let passing = signals.clone();
        let live = move || live(prepared, &passing, &tell);
        thread::Builder::new().name("command".into()).spawn(live).map_err(cannot)?;

        let mut pid = [0; 4];
        if rustix::io::read(&pid_out, &mut pid) == Ok(4) {
            let done = named(u32::from_ne_bytes(pid));
            let word = if done.is_ok() { GO } else { STOP };
            let _ = rustix::io::write(&go_in, &[word]);
            if let Err(failure) = done {
                let _ = events.recv();
                return Err(failure);
            }
        }
        Ok(Child { signals: signals.clone(), events })
    }

    /// What became of it, if anything within this time.
    pub(crate) fn event(&mut self, up_to: Duration) -> Option<Event> {
        self.events.recv_timeout(up_to).ok()
    }

    pub(crate) fn have_all_ended(&mut self, _: Duration) -> bool {
        true
    }

    /// Nobody else keeps it in time.
    pub(crate) fn set_deadline(&mut self, _: Duration) {}

    /// Asks it and all that it started to end.
    pub(crate) fn ask_to_end(&mut self) {
        self.signal_all(false);
    }

    /// Ends it and all that it started. The PIDs of those that could not be ended.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        self.signal_all(true);
        Vec::new()
    }

    /// Nobody else looks after what it has started.
    pub(crate) fn leave(&mut self) {}

    pub(crate) fn finish(self) {}

    fn signal_all(&self, hard: bool) {
        let signal = if hard { Signal::KILL } else { Signal::TERM };
        if let Some(pid) = self.signals.command() {
            self.signals.system().send(pid, signal);
            let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, Signal::CONT));
        }
        // New ones may be started while we look; those that are told once stay told.
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
fn live(mut prepared: Command, signals: &Signals, tell: &Sender<Event>) {
    // Until it is the command, our own handlers hear in its process.
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
    let _ = tell.send(event);
}

/// What a new process passes before it becomes the command.
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

/// All processes below this one, by their parents.
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

/// All living processes, each with its parent.
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
