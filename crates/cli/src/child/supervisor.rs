//! The supervisor: a process between `lockbydir` and its command, the parent of the command and of
//! every orphan below it. It outlives `lockbydir`, so a killed `lockbydir` leaves no process behind that
//! works on; and the lock names it, so nobody takes the lock before it has ended them all.
//!
//! It is a forked child of a program with threads, so it makes system calls only: it allocates
//! nothing, takes no lock and cannot panic.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, setsid, wait,
};
use rustix::thread::set_name;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::orders::{Order, Report};
use super::{raw, tree};

/// Its name in `ps`, which `pkill lockbydir` does not match. The library recognizes it by this name.
const NAME: &std::ffi::CStr = c"run-supervisor";
/// The pause between two checks while the command is kept from running.
const LATE_PAUSE: Duration = Duration::from_millis(100);
/// The pause between two rounds of killing, if no child ends meanwhile.
const ROUND_PAUSE: Duration = Duration::from_millis(2);
/// A killed process that still exists after this long is reported: it hangs in the kernel.
const LONGEST_END: Duration = Duration::from_secs(3);
/// The number of rounds over all descendants, all finding only processes that may not be killed, after
/// which those are reported.
const ROUNDS_IN_VAIN: u8 = 3;
/// Limits the rounds of stopping: each finds processes that were started before their parent stopped.
const STOPPING_ROUNDS: u8 = 100;

/// Supervises this process's child `command` to the end. `orders` is the socket to `lockbydir`.
///
/// `pid` is the PID by which `lockbydir` knows this process. If `getpid` returns another one, this is
/// the first process of a PID namespace.
pub(super) fn supervise(command: Pid, pid: Pid, orders: BorrowedFd<'_>) -> ! {
    // A signal to the group of `lockbydir`, from a terminal or to kill it, must not reach this process.
    let group = raw::group_of(0);
    // A new session, and not only a new group: as a parent of the command in another group of the same
    // session, this process would keep the caller's group from being orphaned, and at its end the kernel
    // would hang up on the whole group (SIGHUP) if any process there is stopped.
    let _ = setsid();
    let _ = set_name(NAME);
    raw::shorten_slice();
    raw::close_all_but(orders.as_raw_fd());
    let timer = timerfd_create(
        TimerfdClockId::Boottime,
        TimerfdFlags::CLOEXEC.union(TimerfdFlags::NONBLOCK),
    );
    let children = raw::child_events();
    let (timer, children) = match (timer, children) {
        (Ok(timer), Ok(children)) => (timer, children),
        (Err(errno), _) => give_up(orders, errno.raw_os_error()),
        (_, Err(error)) => give_up(orders, error.raw_os_error().unwrap_or(0)),
    };
    Report::Ready(pid.as_raw_nonzero().get()).send(orders);
    Supervisor {
        orders,
        timer,
        children,
        command,
        group,
        is_first: pid != getpid() && getpid() == Pid::INIT,
        has_ended: false,
        is_alone: false,
        deadline: None,
        is_late: false,
        ending: None,
    }
    .run()
}

/// Ends this process with an error. The command waits at its gate and dies with its parent.
pub(super) fn give_up(orders: BorrowedFd<'_>, errno: i32) -> ! {
    Report::Failed(errno).send(orders);
    raw::exit(1)
}

struct Supervisor<'a> {
    orders: BorrowedFd<'a>,
    timer: OwnedFd,
    children: OwnedFd,
    command: Pid,
    /// The process group that the command was started in.
    group: Option<i32>,
    /// This is the first process of a PID namespace: all others there are the command's, and end with it.
    is_first: bool,
    /// The command has ended.
    has_ended: bool,
    /// `lockbydir` is gone.
    is_alone: bool,
    /// When the lock expires, on the boot clock.
    deadline: Option<Duration>,
    /// The deadline has passed: no process may run until there is a later deadline.
    is_late: bool,
    ending: Option<Ending>,
}

/// The state while all processes are being ended.
struct Ending {
    began: Duration,
    round: u32,
    /// The number of rounds that found only processes that may not be killed.
    in_vain: u8,
    was_reported: bool,
}

/// Returns the time of the boot clock, which runs while the machine is suspended.
pub(super) fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}

impl Supervisor<'_> {
    fn run(mut self) -> ! {
        loop {
            let (has_order, has_child_event) = self.wait();
            if has_child_event {
                let mut event = [MaybeUninit::<u8>::uninit(); 128];
                while matches!(rustix::io::read(&self.children, &mut event[..]), Ok((read, _)) if !read.is_empty())
                {
                }
            }
            self.reap();
            if has_order {
                self.execute();
            }
            if self.deadline.is_some_and(|deadline| now() >= deadline) {
                self.is_late = true;
            }
            if self.ending.is_some() {
                self.end_round();
            } else if self.is_late {
                self.stop_all();
            }
        }
    }

    /// Waits for an order, a change of a child, the deadline or the next round. Returns whether there is
    /// an order, and whether a child has changed.
    fn wait(&self) -> (bool, bool) {
        let pause = match &self.ending {
            Some(ending) if ending.was_reported => Some(timespec(LATE_PAUSE)),
            Some(_) => Some(timespec(ROUND_PAUSE)),
            None if self.is_late => Some(timespec(LATE_PAUSE)),
            None => None,
        };
        // The timer stays readable once the deadline has passed.
        let mut polled = [
            PollFd::new(&self.children, PollFlags::IN),
            PollFd::from_borrowed_fd(self.orders, PollFlags::IN),
            PollFd::new(&self.timer, PollFlags::IN),
        ];
        let wanted = match (self.is_alone, self.is_late) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        let _ = poll(&mut polled[..wanted], pause.as_ref());
        // If the command was continued after the deadline, each instruction that it executes is too much:
        // it is stopped first, before anything else.
        if self.is_late
            && self.ending.is_none()
            && !self.all_at_once(Signal::STOP)
            && !self.has_ended
        {
            let _ = kill_process(self.command, Signal::STOP);
        }
        (!self.is_alone && !polled[1].revents().is_empty(), !polled[0].revents().is_empty())
    }

    /// Reaps every child that has ended, the command or an orphan.
    fn reap(&mut self) {
        let is_childless = loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.command && !self.has_ended => {
                    self.has_ended = true;
                    Report::Ended(status.as_raw()).send(self.orders);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break false,
                // Every living descendant has an ancestor that is a child of this process.
                Err(_) => break true,
            }
        };
        // A command that has ended may have been killed together with `lockbydir`. So what it left in the
        // background is left alone only when `lockbydir` orders that.
        if is_childless {
            if self.ending.is_some() {
                Report::Done.send(self.orders);
            }
            raw::exit(0);
        }
    }

    fn execute(&mut self) {
        match Order::receive(self.orders) {
            // The rest of the command ends before this process does, since the lock names this process.
            None => {
                self.is_alone = true;
                self.begin_end();
            }
            Some(Order::Deadline(at)) => self.set_deadline(Duration::from_millis(at)),
            Some(Order::Signal(number)) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    self.signal(signal);
                }
            }
            // Processes that may not run cannot clean up, so they are killed at once.
            Some(Order::Ask) if self.is_late => self.begin_end(),
            Some(Order::Ask) => self.each(&mut |pid| {
                let _ = kill_process(pid, Signal::TERM);
                let _ = kill_process(pid, Signal::CONT);
            }),
            Some(Order::End) => self.begin_end(),
            Some(Order::Leave) => raw::exit(0),
        }
    }

    fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = Some(deadline);
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let alarm = Itimerspec { it_interval: zero, it_value: timespec(deadline) };
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &alarm);
        if self.is_late && now() < deadline {
            self.is_late = false;
            self.each(&mut |pid| {
                let _ = kill_process(pid, Signal::CONT);
            });
        }
    }

    /// Calls `on` with the command and all that it has started, as far as they can be found.
    fn each(&self, on: &mut dyn FnMut(Pid)) {
        if tree::is_ours() {
            tree::each_descendant(getpid(), on);
        } else if !self.has_ended {
            on(self.command);
        }
    }

    /// Passes a signal on to the command and those of its descendants that are in its process group.
    fn signal(&self, signal: Signal) {
        // `lockbydir` stops itself next. In an orphaned group, as under cron, SIGTSTP stops no process.
        let signal = if signal == Signal::TSTP { Signal::STOP } else { signal };
        if !self.has_ended {
            let _ = kill_process(self.command, signal);
        }
        self.each(&mut |pid| {
            let group = raw::group_of(pid.as_raw_nonzero().get());
            if pid != self.command && group.is_some() && group == self.group {
                let _ = kill_process(pid, signal);
            }
        });
    }

    /// Sends a signal to all processes at once, if possible: then even one that forks meanwhile is reached.
    fn all_at_once(&self, signal: Signal) -> bool {
        // Outside a PID namespace this would reach all processes of the machine.
        self.is_first && kill_process_group(Pid::INIT, signal).is_ok()
    }

    /// Stops all processes, and repeats that until all are found stopped.
    fn stop_all(&self) {
        if self.all_at_once(Signal::STOP) {
            return;
        }
        for _ in 0..STOPPING_ROUNDS {
            let mut is_moving = false;
            self.each(&mut |pid| {
                let stands = matches!(tree::state(pid), None | Some(b'T' | b't' | b'Z' | b'X'));
                is_moving |= !stands && kill_process(pid, Signal::STOP).is_ok();
            });
            if !is_moving {
                return;
            }
            let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 200_000 }));
        }
    }

    fn begin_end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Ending { began: now(), round: 0, in_vain: 0, was_reported: false });
        }
    }

    /// Kills every child; the children of a killed process become children of this one, for the next round.
    /// All have ended when there is no child any more, which [`reap`](Self::reap) detects.
    fn end_round(&mut self) {
        let Some(Ending { began, round, in_vain, was_reported }) = self.ending.take() else {
            return;
        };
        let us = getpid();
        self.all_at_once(Signal::KILL);
        // A round over all descendants reaches those below processes that may not be killed.
        let is_thorough = in_vain > 0 || round % 8 == 0;
        let (mut living, mut refused) = (0u32, 0u32);
        let mut kill = |pid| match kill_process(pid, Signal::KILL) {
            Err(Errno::PERM) => refused += 1,
            // A process that has ended and was not reaped yet does not count as living.
            Ok(()) if is_thorough && !matches!(tree::state(pid), None | Some(b'Z' | b'X')) => {
                living += 1;
            }
            _ => {}
        };
        if is_thorough || !tree::is_ours() {
            self.each(&mut kill);
        } else {
            tree::each_child(us, &mut kill);
        }
        let in_vain = match (refused, living) {
            (1.., 0) if is_thorough => in_vain.saturating_add(1),
            (1.., _) if is_thorough => 1,
            _ => in_vain,
        };
        let is_hanging = now().saturating_sub(began) > LONGEST_END;
        let reports = !was_reported && (in_vain >= ROUNDS_IN_VAIN || is_hanging);
        if reports {
            let orders = self.orders;
            self.each(&mut |pid| {
                if tree::lives(pid) {
                    Report::Survivor(pid.as_raw_nonzero().get()).send(orders);
                }
            });
            Report::Done.send(orders);
        }
        let was_reported = was_reported || reports;
        self.ending = Some(Ending { began, round: round.wrapping_add(1), in_vain, was_reported });
    }
}
