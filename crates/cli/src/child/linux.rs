//! The command on Linux: below a supervisor, in the caller's process group.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, getppid, kill_process,
    set_child_subreaper, set_parent_process_death_signal, wait, waitid,
};
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::signal::SIGCHLD;

use super::contain::{Containment, Refused, Side};
use super::linux_signals::were_children_ignored;
use super::orders::{GO, Order, Report};
use super::{Event, Plan, Signals, cannot_run, raw, supervisor, tree};
use crate::exit::{CANNOT_RUN, Failure, SIGNAL};

/// Limits the wait for the supervisor's report on an end. It reports the end of all processes, or those
/// that could not be ended, within 3 s.
const LONGEST_END: Duration = Duration::from_secs(10);

/// The command.
pub(crate) struct Child {
    signals: Arc<Signals>,
    supervisor: Arc<UnixStream>,
    pid: Option<Pid>,
    /// Starts the supervisor and through it the command; ends when the command has begun.
    starting: Option<JoinHandle<io::Result<()>>>,
    /// How the supervisor ended, once that is known.
    supervisor_end: Option<WaitStatus>,
    /// The deadline that the supervisor knows, in milliseconds of the boot clock.
    deadline: u64,
    /// If the supervisor is killed, this process inherits what it leaves, and no other orphans.
    adopts: bool,
    /// The supervisor is gone.
    is_unsupervised: bool,
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
        let (ours, theirs) = UnixStream::pair().map_err(cannot_run)?;
        let (gate_out, gate_in) = io::pipe().map_err(cannot_run)?;
        // If this process has inherited children from its caller, it would adopt their orphans too.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let adopts = waitid(WaitId::All, look).err() == Some(Errno::CHILD);
        if adopts {
            let _ = set_child_subreaper(Some(getpid()));
        }

        let mut prepared = plan.prepared();
        let starting = signals.starting();
        let split = Split {
            orders: theirs,
            ours: ours.as_raw_fd(),
            gate_in,
            gate_out,
            handled: signals.system().handled.clone(),
            ignored_children: were_children_ignored(),
            containment: plan.is_contained.then(Containment::new),
        };
        let is_contained = plan.is_contained;
        let start = move || {
            // A signal to the new process stays pending until that process is ready for it.
            let before = raw::block_signals();
            split_before(&mut prepared, split, before);
            let mut first = prepared.spawn()?;
            if is_contained {
                // Its only task was to make the supervisor.
                let _ = first.wait();
            }
            Ok(())
        };
        let thread =
            thread::Builder::new().name("start".into()).spawn(start).map_err(cannot_run)?;
        let mut child = Child {
            signals: signals.clone(),
            supervisor: Arc::new(ours),
            pid: None,
            starting: Some(thread),
            supervisor_end: None,
            deadline: 0,
            adopts,
            is_unsupervised: false,
            status: None,
            survivors: Vec::new(),
            is_done: false,
        };
        match Report::receive(&*child.supervisor) {
            Ok(Some(Report::Ready(pid))) => {
                child.pid = Pid::from_raw(pid);
                signals.system().direct_to(&child.supervisor);
                starting.begun(pid.cast_unsigned());
                // A supervisor that was stopped must not block this process.
                let _ = child.supervisor.set_nonblocking(true);
                match named(pid.cast_unsigned()) {
                    Ok(held) => {
                        child.set_deadline(held);
                        let _ = Order::Go.send(&*child.supervisor);
                        Ok(child)
                    }
                    Err(failure) => {
                        // A signal may have ended it before it began: then that is its outcome.
                        child.look(Duration::ZERO);
                        if child.status.is_some() {
                            return Ok(child);
                        }
                        child.end();
                        child.finish();
                        Err(failure)
                    }
                }
            }
            other => {
                drop(starting);
                if let Ok(Some(Report::Refused(number))) = other
                    && let Some(refused) = Refused::of(number)
                {
                    let _ = child.started();
                    return Err(refused.into());
                }
                let errno = match other {
                    Ok(Some(Report::Failed(errno))) => errno,
                    _ => Errno::CHILD.raw_os_error(),
                };
                let error = child.started().err();
                Err(cannot_run(error.unwrap_or_else(|| io::Error::from_raw_os_error(errno))))
            }
        }
    }

    /// Waits up to this long for the next event of the command.
    pub(crate) fn event(&mut self, up_to: Duration) -> Option<Event> {
        let is_gone = self.status.is_none() && self.look(up_to);
        match self.status.take() {
            Some(status) => {
                let status = ExitStatus::from_raw(status);
                let signal = status.signal().and_then(|number| u8::try_from(number).ok());
                // A process whose exec failed has exited, too.
                let has_exited = signal.is_none();
                if has_exited && let Err(error) = self.started() {
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
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
        let deadline = u64::try_from(now.saturating_add(held).as_millis()).unwrap_or(u64::MAX);
        if deadline.abs_diff(self.deadline) > SLACK
            && Order::Deadline(deadline).send(&*self.supervisor).is_ok()
        {
            self.deadline = deadline;
        }
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
        let _ = self.pid.filter(|_| is_there).map(|pid| kill_process(pid, Signal::CONT));
        let last = Instant::now() + LONGEST_END;
        while !self.is_done {
            let rest = last.saturating_duration_since(Instant::now());
            if self.look(rest) {
                self.end_adopted();
                break;
            }
            if rest.is_zero() {
                break;
            }
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
        let _ = self.started();
        if let (Some(pid), None) = (self.pid, self.supervisor_end) {
            self.supervisor_end = tree::wait_for(pid);
        }
    }

    /// Returns the result of the start: known as soon as the command has begun, or has ended.
    fn started(&mut self) -> io::Result<()> {
        if let Some(starting) = self.starting.take() {
            let joined = starting.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            joined?;
        }
        Ok(())
    }

    /// Waits up to this long for the supervisor's next report, and records it. Returns whether the
    /// supervisor is gone.
    fn look(&mut self, up_to: Duration) -> bool {
        if self.is_unsupervised {
            return true;
        }
        let pause = Timespec {
            tv_sec: i64::try_from(up_to.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: up_to.subsec_nanos().into(),
        };
        let mut polled = [PollFd::new(&*self.supervisor, PollFlags::IN)];
        if !matches!(poll(&mut polled, Some(&pause)), Ok(1..)) {
            return false;
        }
        match Report::receive(&*self.supervisor) {
            Err(Errno::AGAIN)
            | Ok(Some(Report::Ready(_) | Report::Failed(_) | Report::Refused(_))) => {}
            Err(_) | Ok(None) => {
                self.is_unsupervised = true;
                self.signals.end();
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

/// What a new process needs to become the supervisor, and to start the command below it.
struct Split {
    orders: UnixStream,
    /// The other end of `orders`, which the command's process must not keep open in place of `lockbydir`.
    ours: RawFd,
    gate_in: PipeWriter,
    gate_out: PipeReader,
    handled: Vec<i32>,
    ignored_children: bool,
    containment: Option<Containment>,
}

impl Split {
    /// Returns in the command's process only. All signals are blocked in this thread.
    fn divide(&self, before: &raw::Mask) -> io::Result<()> {
        let (supervisor, known_as) = match self.containment.as_ref().map(Containment::enter) {
            None => {
                set_child_subreaper(Some(getpid()))?;
                (getpid(), getpid())
            }
            Some(Ok(Side::Within(outside))) => (getpid(), outside),
            Some(Ok(Side::Outside)) => raw::exit(0),
            Some(Err(refused)) => {
                Report::Refused(refused.number()).send(&self.orders);
                raw::exit(1)
            }
        };
        if let Some(command) = raw::fork()? {
            supervisor::supervise(command, known_as, self.orders.as_fd(), self.gate_in.as_fd());
        }
        raw::close_copy(self.ours);
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(supervisor) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // From here on a signal has the same effect on this process as on the command.
        for &signal in &self.handled {
            raw::set_default(signal);
        }
        if self.ignored_children {
            raw::ignore(SIGCHLD);
        }
        raw::restore_signals(before);
        let mut word = [0];
        loop {
            match rustix::io::read(&self.gate_out, &mut word) {
                Err(Errno::INTR) => {}
                Ok(1) if word[0] == GO => return Ok(()),
                _ => return Err(io::ErrorKind::Interrupted.into()),
            }
        }
    }
}

#[expect(unsafe_code, reason = "the only way to do something in a process before it is a command")]
fn split_before(prepared: &mut Command, split: Split, before: raw::Mask) {
    // SAFETY: between fork and exec, and in the supervisor, which never returns, only system calls
    // are made, on descriptors that stay open as long as the closure; nothing is allocated and no
    // lock is taken.
    unsafe { prepared.pre_exec(move || split.divide(&before)) };
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
            assert!(
                matches!(event, Some(Event::Ended { signal: Some(ended), .. }) if ended == number),
                "{signal:?}"
            );
        }
    }
}
