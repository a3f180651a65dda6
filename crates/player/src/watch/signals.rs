//! Signals while the player has the terminal: the first one ends the view, and the program ends
//! after that. A second one, and one while nothing is shown, has its default effect. So has one
//! that has ended nothing after a while, because the terminal accepts no more output.

#[cfg(unix)]
pub(super) use self::unix::Signals;

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
    use std::time::Duration;

    use rustix::process::{Signal, kill_current_process_group};
    use signal_hook::SigId;
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::{flag, low_level};

    /// The time between two checks whether a signal has ended the view.
    const CHECK_INTERVAL: Duration = Duration::from_millis(500);
    /// The number of checks that find the view still open after a signal; at the next one the
    /// program is ended by force.
    const MAX_CHECKS: u32 = 6;

    pub(in super::super) struct Signals {
        ids: Vec<SigId>,
        /// Whether signals have their default effect.
        is_usual: Arc<AtomicBool>,
        ended: Arc<AtomicUsize>,
        continued: Arc<AtomicBool>,
        /// Dropped when the view ends, which ends the thread that checks.
        _shows: SyncSender<()>,
    }

    impl Signals {
        /// Installs the handlers; `give_back` is called before a signal ends the program by force.
        pub(in super::super) fn listen(give_back: fn()) -> io::Result<Signals> {
            let (shows, is_shown) = sync_channel(0);
            let mut signals = Signals {
                _shows: shows,
                ids: Vec::new(),
                is_usual: Arc::new(AtomicBool::new(false)),
                ended: Arc::new(AtomicUsize::new(0)),
                continued: Arc::new(AtomicBool::new(false)),
            };
            for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT] {
                // Never unregistered: without this handler the signal would have no effect from
                // then on.
                flag::register_conditional_default(signal, signals.is_usual.clone())?;
                let number = usize::try_from(signal).unwrap_or_default();
                signals.ids.push(flag::register_usize(signal, signals.ended.clone(), number)?);
                signals.ids.push(flag::register(signal, signals.is_usual.clone())?);
            }
            signals.ids.push(flag::register(SIGCONT, signals.continued.clone())?);
            let ended = signals.ended.clone();
            let run = move || force(&is_shown, &ended, give_back);
            std::thread::Builder::new().name("signals".into()).spawn(run)?;
            Ok(signals)
        }

        /// Returns the number of the signal that asked for the end.
        pub(in super::super) fn ended(&self) -> Option<i32> {
            let number = self.ended.load(Ordering::SeqCst);
            i32::try_from(number).ok().filter(|number| *number > 0)
        }

        /// Returns true once after this process was stopped and continued.
        pub(in super::super) fn has_continued(&self) -> bool {
            self.continued.swap(false, Ordering::SeqCst)
        }

        /// Stops this process and its group, as the terminal does, until they are continued.
        pub(in super::super) fn suspend(&self) {
            self.continued.store(false, Ordering::SeqCst);
            if kill_current_process_group(Signal::TSTP).is_err() {
                return;
            }
            // Another thread may receive the signal first. In an orphaned process group, which
            // nobody could continue, nothing stops.
            for _ in 0..40 {
                if self.has_continued() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Ends the program if a signal has been received and the view is still open some time after.
    fn force(is_shown: &Receiver<()>, ended: &AtomicUsize, give_back: fn()) {
        let mut checks = 0;
        while is_shown.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let signal = ended.load(Ordering::SeqCst);
            checks += u32::from(signal > 0);
            if checks > MAX_CHECKS {
                give_back();
                let _ =
                    low_level::emulate_default_handler(i32::try_from(signal).unwrap_or(SIGTERM));
            }
        }
    }

    impl Drop for Signals {
        fn drop(&mut self) {
            self.is_usual.store(true, Ordering::SeqCst);
            for id in self.ids.drain(..) {
                low_level::unregister(id);
            }
        }
    }
}

/// For systems without such signals.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn listen(_: fn()) -> std::io::Result<Signals> {
        Ok(Signals)
    }

    pub(super) fn ended(&self) -> Option<i32> {
        None
    }

    pub(super) fn has_continued(&self) -> bool {
        false
    }

    pub(super) fn suspend(&self) {}
}
