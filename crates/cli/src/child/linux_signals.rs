//! The signals that this process handles on Linux, the source of each, and its way to the command.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use lockbydir::Interrupt;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;

use super::orders::Order;
use super::{Signals, raw};
use crate::exit::{Failure, IO};

/// The signals that the program handles from its start on.
const FIRST: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];
/// Those that it also handles while it has a command, unless a terminal stops and continues the whole group.
const STOPS: [i32; 2] = [SIGTSTP, SIGCONT];
/// Those that a terminal sends to the whole group.
const KEYS: [i32; 2] = [SIGINT, SIGQUIT];
/// `si_code` of a signal that the kernel itself sends, as for a key of a terminal.
const FROM_KERNEL: i32 = 0x80;

/// Where the handlers put each signal, with its source, and wake the one who takes it.
type Delivery = SignalDelivery<Arc<UnixStream>, WithRawSiginfo>;

/// The state of signals on this system.
pub(super) struct System {
    /// Can be read when a signal has arrived.
    source: Arc<UnixStream>,
    delivery: Mutex<Arrived>,
    /// Bits of the signals whose source was a terminal.
    by_terminal: AtomicU64,
    /// The socket to the supervisor, once there is one.
    supervisor: Mutex<Option<Arc<UnixStream>>>,
}

struct Arrived {
    delivery: Delivery,
    /// The signals that this process handles.
    handled: Vec<i32>,
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
    /// Starts to receive signals. A wait with the interrupt `early` sleeps on them; apart from that, the
    /// main thread [collects](Signals::collect) them.
    pub(crate) fn receive() -> Result<Arc<Signals>, Failure> {
        let system = System::new().map_err(cannot)?;
        let early = Interrupt::when_readable(system.source.clone());
        Ok(Arc::new(Signals::new(early, system)))
    }

    /// Starts a thread that receives signals: for waits that only another thread can interrupt.
    pub(crate) fn watch() -> Result<Arc<Signals>, Failure> {
        let system = System::new().map_err(cannot)?;
        let signals = Arc::new(Signals::new(Interrupt::new(), system));
        let collecting = signals.clone();
        let collect = move || {
            loop {
                let _ = poll(&mut [PollFd::new(collecting.system().source(), PollFlags::IN)], None);
                collecting.collect();
            }
        };
        thread::Builder::new().name("signals".into()).spawn(collect).map_err(cannot)?;
        Ok(signals)
    }

    /// Handles the signals that have arrived.
    pub(crate) fn collect(&self) {
        for (number, is_from_terminal) in self.system().take() {
            self.pass(number, is_from_terminal);
        }
    }

    /// Whether this signal has arrived and the terminal was its source.
    pub(crate) fn is_from_terminal(&self, number: u8) -> bool {
        self.collect();
        self.system().by_terminal.load(Ordering::Acquire) & bit(number) != 0
    }
}

fn cannot(error: io::Error) -> Failure {
    Failure::new(IO, format!("cannot watch for signals: {error}; free some resources"))
}

fn bit(number: u8) -> u64 {
    1 << (number % 64)
}

/// Ends this process by the signal that ended its command, so that its caller sees why.
pub(crate) fn end_by(signal: u8) {
    // The command has already left a core dump, so this process leaves none.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = signal_hook::low_level::emulate_default_handler(signal.into());
}

impl System {
    /// Installs the handlers.
    fn new() -> io::Result<System> {
        let (source, sink) = UnixStream::pair()?;
        let source = Arc::new(source);
        // A signal that was ignored when this process was started (nohup) stays ignored.
        let handled = FIRST.into_iter().filter(|&signal| !raw::is_ignored(signal));
        let handled: Vec<i32> = handled.collect();
        let delivery = Delivery::with_pipe(source.clone(), sink, WithRawSiginfo, handled.iter())?;
        Ok(System {
            source,
            delivery: Mutex::new(Arrived { delivery, handled }),
            by_terminal: AtomicU64::new(0),
            supervisor: Mutex::new(None),
        })
    }

    /// Whether the signal only stops or continues: without a command it concerns this process alone.
    pub(super) fn is_for_commands_only(number: u8) -> bool {
        matches!(i32::from(number), SIGTSTP | SIGCONT)
    }

    /// Takes the signals that have arrived, each with whether the terminal has sent it to the whole group.
    pub(super) fn take(&self) -> Vec<(u8, bool)> {
        let mut arrived = self.arrived_signals();
        let found = arrived.delivery.pending().map(|info| {
            let number = u8::try_from(info.si_signo).unwrap_or(0);
            let is_key = info.si_code == FROM_KERNEL && KEYS.contains(&info.si_signo);
            if is_key {
                self.by_terminal.fetch_or(bit(number), Ordering::AcqRel);
            }
            (number, is_key)
        });
        found.collect()
    }

    fn arrived_signals(&self) -> MutexGuard<'_, Arrived> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what can be read when a signal has arrived.
    pub(super) fn source(&self) -> &UnixStream {
        &self.source
    }

    /// Handles the signals that stop and continue from now on, unless a terminal does that: its key stops
    /// the whole group, this process too.
    pub(super) fn begin_to_stop(&self) {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        if openat(CWD, c"/dev/tty", flags, Mode::empty()).is_ok() {
            return;
        }
        let mut arrived = self.arrived_signals();
        let Arrived { delivery, handled } = &mut *arrived;
        for signal in STOPS {
            let is_new = !handled.contains(&signal) && !raw::is_ignored(signal);
            if is_new && delivery.handle().add_signal(signal).is_ok() {
                handled.push(signal);
            }
        }
    }

    /// Returns the signals that this process handles.
    pub(super) fn handled(&self) -> Vec<i32> {
        self.arrived_signals().handled.clone()
    }

    /// Returns the group's signals that have arrived, even if another thread has not passed them on yet.
    pub(super) fn arrived(&self) -> impl Iterator<Item = u8> {
        let by_terminal = self.by_terminal.load(Ordering::Acquire);
        let keys = KEYS.into_iter().filter_map(|signal| u8::try_from(signal).ok());
        keys.filter(move |&key| by_terminal & bit(key) != 0)
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
