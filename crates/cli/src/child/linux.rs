//! The command on Linux: below a supervisor, in the caller's process group.

use std::io::{self, PipeWriter};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, kill_process,
    set_child_subreaper, wait, waitid,
};

use super::contain::{Containment, Refused};
use super::linux_signals::were_children_ignored;
use super::orders::{Order, Report, millis, open_gate};
use super::split::{Image, Split};
use super::{Event, Plan, Signals, cannot_run, raw, supervisor, tree};
use crate::exit::{CANNOT_RUN, Failure, SIGNAL};

/// Limits the wait for the supervisor's report on an end. It reports the end of all processes, or those
/// that could not be ended, within 3 s.
const LONGEST_END: Duration = Duration::from_secs(10);

/// The command.
pub(crate) struct Child {
    signals: Arc<Signals>,
    supervisor: Arc<UnixStream>,
    pid: Pid,
    /// Lets the command begin; `None` once it is known to have begun.
    gate: Option<PipeWriter>,
    /// The command may begin.
    is_open: bool,
    /// How the supervisor ended, once that is known.
    supervisor_end: Option<WaitStatus>,
    /// The deadline that the supervisor knows, in milliseconds of the boot clock.
    deadline: u64,
    /// If the supervisor is killed, this process inherits what it leaves, and no other orphans.
    adopts: bool,
    /// The supervisor is gone.
    is_unsupervised: bool,
    /// Why the command's program could not be executed.
    not_started: Option<io::Error>,
    /// How the command ended, until that is reported as an event.
    status: Option<i32>,
    survivors: Vec<u32>,
    is_done: bool,
}

impl Child {
    /// When the deadline passes, the supervisor stops all processes until there is a later deadline.
    pub(crate) const STOPS_WHEN_LATE: bool = true;
    /// The supervisor knows when all that the command started has ended.
    pub(crate) const WAITS_FOR_ALL: bool = true;

    /// Starts the command. Its process first waits until `named` has been called with the PID that the
    /// lock is to name, and has returned how long the lock is held. So the lock names it before it does
    /// anything.
    pub(crate) fn spawn(
        plan: Plan<'_>,
        signals: &Arc<Signals>,
        named: impl FnOnce(u32) -> Result<Duration, Failure>,
    ) -> Result<Child, Failure> {
        let image = Image::of(&plan).map_err(cannot_run)?;
        let (ours, theirs) = UnixStream::pair().map_err(cannot_run)?;
        let (gate_out, gate_in) = io::pipe().map_err(cannot_run)?;
        // If this process has inherited children from its caller, it would adopt their orphans too.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let adopts = waitid(WaitId::All, look).err() == Some(Errno::CHILD);
        if adopts {
            let _ = set_child_subreaper(Some(getpid()));
        }

        let starting = signals.starting();
        signals.system().begin_to_stop();
        let split = Split {
            orders: theirs,
            gate: gate_out,
            ours: [ours.as_raw_fd(), gate_in.as_raw_fd()],
            image,
            handled: signals.system().handled(),
            ignored_children: were_children_ignored(),
            containment: plan.is_contained.then(Containment::new),
            // A signal to the new process stays pending until that process is ready for it.
            mask: raw::block_signals(),
        };
        let forked = raw::fork();
        if matches!(forked, Ok(None)) {
            split.divide();
        }
        raw::restore_signals(&split.mask);
        drop(split);
        let first = forked.and_then(|first| first.ok_or(io::ErrorKind::Other.into()));
        let first = first.map_err(cannot_run)?;

        let supervisor = match plan.is_contained {
            // Its only task was to make the supervisor.
            true => {
                let ready = ready(&ours);
                tree::wait_for(first);
                ready?
            }
            false => first,
        };
        let mut child = Child {
            signals: signals.clone(),
            supervisor: Arc::new(ours),
            pid: supervisor,
            gate: Some(gate_in),
            is_open: false,
            supervisor_end: None,
            deadline: 0,
            adopts,
            is_unsupervised: false,
            not_started: None,
            status: None,
            survivors: Vec::new(),
            is_done: false,
        };
        // The supervisor gets ready meanwhile.
        let pid = supervisor.as_raw_nonzero().get().cast_unsigned();
        let named = named(pid);
        if !plan.is_contained
            && let Err(failure) = ready(&child.supervisor)
        {
            drop(starting);
            child.finish();
            return Err(failure);
        }
        signals.system().direct_to(&child.supervisor);
        let is_free_of_signals = starting.begun(pid);
        // A supervisor that was stopped must not block this process.
        let _ = child.supervisor.set_nonblocking(true);
        match named {
            // Each signal that is passed on ends a process that waits at its gate.
            Ok(held) => {
                child.set_deadline(held);
                if is_free_of_signals {
                    child.open_gate();
                }
                Ok(child)
            }
            Err(failure) => {
                // If a signal ends it before it has begun, that is its outcome.
                if !is_free_of_signals {
                    child.look_until(|child| child.status.is_some(), LONGEST_END);
                }
                if child.status.is_some() {
                    return Ok(child);
                }
                child.end();
                child.finish();
                Err(failure)
            }
        }
    }

    /// Waits up to this long for the next event of the command.
    pub(crate) fn event(&mut self, up_to: Duration) -> Option<Event> {
        let is_gone = self.look_until(|child| child.status.is_some(), up_to);
        match self.status.take() {
            Some(status) => {
                let status = ExitStatus::from_raw(status);
                let signal = status.signal().and_then(|number| u8::try_from(number).ok());
                // A process whose exec failed has exited, too.
                let has_exited = signal.is_none();
                if let Some(error) = self.not_started.take().filter(|_| has_exited) {
                    return Some(Event::NotStarted(error));
                }
                let code = signal.map(|number| i32::from(SIGNAL) + i32::from(number));
                let code = status.code().or(code).unwrap_or(i32::from(CANNOT_RUN));
                Some(Event::Ended { code: code.cast_unsigned(), signal })
            }
            None if is_gone => {
                self.end_adopted();
                Some(Event::Unsupervised(std::mem::take(&mut self.survivors)))
            }
            None => None,
        }
    }

    /// Waits up to this long until all that the command started has ended; returns whether it has.
    pub(crate) fn have_all_ended(&mut self, up_to: Duration) -> bool {
        let is_gone = self.look(up_to);
        if is_gone {
            self.end_adopted();
        }
        is_gone
    }

    /// Reports to the supervisor how long the lock is held. When that has passed, the supervisor stops all
    /// processes until there is a later deadline.
    pub(crate) fn set_deadline(&mut self, held: Duration) {
        /// The largest change in milliseconds that is due to rounding and not worth an order.
        const SLACK: u64 = 2;
        if held.is_zero() {
            return;
        }
        let deadline = millis(supervisor::now().saturating_add(held));
        if deadline.abs_diff(self.deadline) > SLACK
            && Order::Deadline(deadline).send(&*self.supervisor).is_ok()
        {
            self.deadline = deadline;
            // If the command's process has passed the gate too late, it waits there for this deadline.
            if self.is_open {
                self.open_gate();
            }
        }
    }

    /// Lets the command begin, unless the deadline passes before it does.
    fn open_gate(&mut self) {
        self.is_open = true;
        // Nobody reads from the gate of a command that has begun.
        self.gate.take_if(|gate| open_gate(&*gate, self.deadline).is_err());
    }

    /// Asks the command and all that it started to end.
    pub(crate) fn ask_to_end(&mut self) {
        let _ = Order::Ask.send(&*self.supervisor);
    }

    /// Ends the command and all that it started. Returns the PIDs of those that could not be ended.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        let _ = Order::End.send(&*self.supervisor);
        // The supervisor may have been stopped.
        let is_there = self.supervisor_end.is_none();
        let _ = is_there.then(|| kill_process(self.pid, Signal::CONT));
        if self.look_until(|child| child.is_done, LONGEST_END) {
            self.end_adopted();
        }
        std::mem::take(&mut self.survivors)
    }

    /// Leaves alone what the command has started, after its end.
    pub(crate) fn leave(&mut self) {
        let _ = Order::Leave.send(&*self.supervisor);
    }

    /// Waits for the supervisor's end, after [`leave`](Self::leave) or [`end`](Self::end), so that not even
    /// the supervisor is left behind.
    pub(crate) fn finish(mut self) {
        self.wait_for_supervisor();
    }

    /// Waits for the supervisor's end. After that no process of a contained command is left.
    fn wait_for_supervisor(&mut self) {
        if self.supervisor_end.is_none() {
            self.supervisor_end = tree::wait_for(self.pid);
        }
    }

    /// Looks until this is true, at least once if it is not yet. Returns whether the supervisor is gone.
    fn look_until(&mut self, is_enough: impl Fn(&Child) -> bool, up_to: Duration) -> bool {
        let last = Instant::now() + up_to;
        while !is_enough(self) {
            let rest = last.saturating_duration_since(Instant::now());
            if self.look(rest) {
                return true;
            }
            if rest.is_zero() {
                break;
            }
        }
        false
    }

    /// Waits up to this long for the supervisor's next report, and records it; passes on the signals that
    /// arrive meanwhile. Returns whether the supervisor is gone.
    fn look(&mut self, up_to: Duration) -> bool {
        if self.is_unsupervised {
            return true;
        }
        let pause = Timespec {
            tv_sec: i64::try_from(up_to.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: up_to.subsec_nanos().into(),
        };
        let signals = self.signals.system().source();
        let mut polled =
            [&*self.supervisor, signals].map(|source| PollFd::new(source, PollFlags::IN));
        let _ = poll(&mut polled, Some(&pause));
        let [has_report, has_signal] = polled.map(|source| !source.revents().is_empty());
        if has_signal {
            self.signals.collect();
        }
        if !has_report {
            return false;
        }
        match Report::receive(&*self.supervisor) {
            Err(Errno::AGAIN)
            | Ok(Some(Report::Ready(_) | Report::Failed(_) | Report::Refused(_))) => {}
            Err(_) | Ok(None) => {
                self.is_unsupervised = true;
                self.signals.end();
            }
            Ok(Some(Report::NotStarted(errno))) => {
                self.not_started = Some(io::Error::from_raw_os_error(errno));
            }
            Ok(Some(Report::Ended(status))) => {
                self.status = Some(status);
                self.signals.end();
            }
            Ok(Some(Report::Survivor(pid))) => self.survivors.push(pid.cast_unsigned()),
            Ok(Some(Report::Done)) => self.is_done = true,
        }
        self.is_unsupervised
    }

    /// Ends the processes that a killed supervisor left to this process.
    fn end_adopted(&mut self) {
        // A supervisor that exited with 0 has left nothing for this process to end.
        self.wait_for_supervisor();
        let in_order = self.supervisor_end.is_some_and(|end| end.exit_status() == Some(0));
        if !self.adopts || in_order {
            return;
        }
        let last = Instant::now() + LONGEST_END / 3;
        loop {
            while matches!(wait(WaitOptions::NOHANG), Ok(Some(_)) | Err(Errno::INTR)) {}
            let mut living = Vec::new();
            let mut refused = 0;
            if tree::is_ours() {
                tree::each_descendant(getpid(), &mut |pid| {
                    refused += usize::from(kill_process(pid, Signal::KILL) == Err(Errno::PERM));
                    if !matches!(tree::state(pid), None | Some(b'Z' | b'X')) {
                        living.push(pid.as_raw_nonzero().get().cast_unsigned());
                    }
                });
            }
            if living.is_empty() {
                return;
            }
            if refused == living.len() || Instant::now() > last {
                self.survivors = living;
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Waits until the supervisor is ready, and returns its PID.
fn ready(supervisor: &UnixStream) -> Result<Pid, Failure> {
    let errno = match Report::receive(supervisor) {
        Ok(Some(Report::Ready(pid))) if let Some(pid) = Pid::from_raw(pid) => return Ok(pid),
        Ok(Some(Report::Refused(number))) => match Refused::of(number) {
            Some(refused) => return Err(refused.into()),
            None => Errno::CHILD.raw_os_error(),
        },
        Ok(Some(Report::Failed(errno))) => errno,
        _ => Errno::CHILD.raw_os_error(),
    };
    Err(cannot_run(io::Error::from_raw_os_error(errno)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use signal_hook::consts::signal::SIGINT;

    use super::*;

    #[test]
    fn a_signal_during_the_start_reaches_the_command() {
        // The caller of the tests may ignore it, as a script's `&` does.
        raw::set_default(SIGINT);
        for signal in [Signal::TERM, Signal::INT] {
            let signals = Signals::watch().unwrap_or_else(|_| panic!());
            let named = |_| {
                kill_process(getpid(), signal).expect("we live");
                // Time enough to pass it on at once, if it is not held back.
                (0..1000).for_each(|_| thread::yield_now());
                Ok(Duration::from_secs(60))
            };
            let command = ["sleep", "60"].map(OsString::from);
            let plan = Plan { command: &command, variables: Vec::new(), is_contained: false };

            let mut child =
                Child::spawn(plan, &signals, named).unwrap_or_else(|_| panic!("no child"));

            let event = child.event(Duration::from_secs(20));
            child.end();
            child.finish();
            let number = u8::try_from(signal.as_raw()).unwrap();
            let ended_by = match event {
                Some(Event::Ended { code, signal }) => signal.ok_or_else(|| format!("exit {code}")),
                Some(Event::NotStarted(error)) => Err(error.to_string()),
                Some(Event::Unsupervised(left)) => Err(format!("unsupervised: {left:?}")),
                None => Err("it has not ended".into()),
            };
            assert_eq!(ended_by, Ok(number));
        }
    }
}
