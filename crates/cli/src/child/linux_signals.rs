//! The signals that this process handles on Linux, the source of each, and its way to the command.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
};
use signal_hook::flag;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;

use super::orders::Order;
use super::{Signals, raw};
use crate::exit::{Failure, IO};

/// Limits the wait until the thread that receives signals has recorded the source of one.
const LONGEST_NOTE: Duration = Duration::from_secs(2);
/// `si_code` of a signal that the kernel itself sends, as for a key of a terminal.
const FROM_KERNEL: i32 = 0x80;

/// The state of signals on this system.
pub(super) struct System {
    /// The signals that this process handles.
    pub(super) handled: Vec<i32>,
    /// Signals that a terminal sends to the whole group, each with a flag that its handler sets at once.
    group_signals: Vec<(u8, Arc<AtomicBool>)>,
    /// Bits of the signals whose source was recorded.
    noted: AtomicU64,
    /// Bits of the signals whose source was a terminal.
    by_terminal: AtomicU64,
    /// The socket to the supervisor, once there is one.
    supervisor: Mutex<Option<Arc<UnixStream>>>,
}

static IGNORED_CHILDREN: AtomicBool = AtomicBool::new(false);

/// Whether `SIGCHLD` was ignored when this process was started.
pub(super) fn were_children_ignored() -> bool {
    IGNORED_CHILDREN.load(Ordering::Relaxed)
}

/// Lets this process learn how its children end, whatever its caller ignores.
pub(crate) fn learn_of_children() {
    IGNORED_CHILDREN.store(raw::set_default(SIGCHLD), Ordering::Relaxed);
}

impl Signals {
    /// Starts a thread that receives signals.
    pub(crate) fn watch() -> Result<Arc<Signals>, Failure> {
        // On a terminal its key stops the whole group, this process too.
        let has_terminal = fs::File::open("/dev/tty").is_ok();
        let stops: &[i32] = if has_terminal { &[] } else { &[SIGTSTP, SIGCONT] };
        let ignored = ignored();
        // A signal that was ignored when this process was started (nohup) stays ignored.
        let is_wanted = |signal: &i32| ignored >> (*signal - 1) & 1 == 0;
        let mut group_signals = Vec::new();
        for signal in [SIGINT, SIGQUIT].into_iter().filter(is_wanted) {
            let arrived = Arc::new(AtomicBool::new(false));
            if flag::register(signal, arrived.clone()).is_ok() {
                group_signals.push((u8::try_from(signal).unwrap_or(0), arrived));
            }
        }
        let handled = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2].iter().chain(stops);
        let handled: Vec<i32> = handled.copied().filter(is_wanted).collect();
        let cannot = |error: io::Error| {
            Failure::new(IO, format!("cannot watch for signals: {error}; free some resources"))
        };
        let mut received = SignalsInfo::<WithRawSiginfo>::new(&handled).map_err(cannot)?;
        let signals = Arc::new(Signals::new(System {
            handled,
            group_signals,
            noted: AtomicU64::new(0),
            by_terminal: AtomicU64::new(0),
            supervisor: Mutex::new(None),
        }));
        let passing = signals.clone();
        let pass = move || {
            for info in received.forever() {
                let number = u8::try_from(info.si_signo).unwrap_or(0);
                let is_from_terminal = passing.system().note(number, info.si_code);
                passing.pass(number, is_from_terminal);
            }
        };
        thread::Builder::new().name("signals".into()).spawn(pass).map_err(cannot)?;
        Ok(signals)
    }

    /// Whether this signal has arrived and the terminal was its source.
    pub(crate) fn is_from_terminal(&self, number: u8) -> bool {
        let system = self.system();
        if !system.arrived().any(|arrived| arrived == number) {
            return false;
        }
        let bit = 1 << (number % 64);
        let last = Instant::now() + LONGEST_NOTE;
        while system.noted.load(Ordering::Acquire) & bit == 0 && Instant::now() < last {
            thread::sleep(Duration::from_millis(1));
        }
        system.by_terminal.load(Ordering::Acquire) & bit != 0
    }
}

/// Ends this process by the signal that ended its command, so that its caller sees why.
pub(crate) fn end_by(signal: u8) {
    // The command has already left a core dump, so this process leaves none.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = signal_hook::low_level::emulate_default_handler(signal.into());
}

impl System {
    /// Whether the signal only stops or continues: without a command it concerns this process alone.
    pub(super) fn is_for_commands_only(number: u8) -> bool {
        matches!(i32::from(number), SIGTSTP | SIGCONT)
    }

    /// Records the source of a signal. Returns true if the terminal has sent it to the whole group.
    fn note(&self, number: u8, code: i32) -> bool {
        let bit = 1 << (number % 64);
        let is_from_terminal = code == FROM_KERNEL && matches!(i32::from(number), SIGINT | SIGQUIT);
        if is_from_terminal {
            self.by_terminal.fetch_or(bit, Ordering::AcqRel);
        }
        self.noted.fetch_or(bit, Ordering::AcqRel);
        is_from_terminal
    }

    /// Returns the group's signals that have arrived, even if their source is not recorded yet.
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

    /// Sends the signal to the supervisor, which passes it on: it knows whether the command still has its
    /// PID.
    pub(super) fn send(&self, _: u32, number: u8) {
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(supervisor) = &*supervisor {
            let _ = Order::Signal(number.into()).send(&**supervisor);
        }
    }

    /// Sends signals through this socket from now on.
    pub(super) fn direct_to(&self, supervisor: &Arc<UnixStream>) {
        *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor.clone());
    }
}

/// Returns the signals that this process ignores, as a bit mask.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
