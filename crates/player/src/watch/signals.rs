//! Signals while the terminal is ours: they end what is shown, and only then the program. A second
//! one, and those that come when nothing is shown, do what they always do. So does one that has ended
//! nothing after a while, because the terminal takes nothing any more.

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

    /// How often one looks whether a signal has ended what it should.
    const LOOK: Duration = Duration::from_millis(500);
    /// So many times it has not before that is done by force.
    const PATIENCE: u32 = 6;

    pub(in super::super) struct Signals {
        ids: Vec<SigId>,
        /// Whoever comes now does what it always does.
        is_usual: Arc<AtomicBool>,
        ended: Arc<AtomicUsize>,
        continued: Arc<AtomicBool>,
        /// As long as this is there, something is shown.
        _shows: SyncSender<()>,
    }

    impl Signals {
        /// Listens; `give_back` is done before a signal ends the program by force.
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
                // Stays for good: without it the signal would do nothing from then on.
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

        /// The number of the one that asked for the end.
        pub(in super::super) fn ended(&self) -> Option<i32> {
            let number = self.ended.load(Ordering::SeqCst);
            i32::try_from(number).ok().filter(|number| *number > 0)
        }

        /// Was this process stopped, and goes on now?
        pub(in super::super) fn has_continued(&self) -> bool {
            self.continued.swap(false, Ordering::SeqCst)
        }

        /// Stops this process and its group, as the terminal does it, until somebody lets them go on.
        pub(in super::super) fn suspend(&self) {
            self.continued.store(false, Ordering::SeqCst);
            if kill_current_process_group(Signal::TSTP).is_err() {
                return;
            }
            // Another thread may be told first. Where nobody could let us go on, nothing happens.
            for _ in 0..40 {
                if self.has_continued() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Ends the program if a signal has come and something is shown all the same.
    fn force(is_shown: &Receiver<()>, ended: &AtomicUsize, give_back: fn()) {
        let mut looks = 0;
        while is_shown.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let signal = ended.load(Ordering::SeqCst);
            looks += u32::from(signal > 0);
            if looks > PATIENCE {
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

/// Where there are none.
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
