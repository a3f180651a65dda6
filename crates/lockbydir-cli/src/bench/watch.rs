//! How far it is, for a person at a terminal; and whether it shall end.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error, if that is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    begun: Cell<Instant>,
    /// Milliseconds before this step, and those that it should take.
    before: Cell<u64>,
    step: Cell<u64>,
}

impl Progress {
    /// For what should take this long in all.
    pub(super) fn new(all: Duration) -> Progress {
        let target = match stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(millis(all)), target);
        let plain = ProgressStyle::default_bar();
        bar.set_style(
            ProgressStyle::with_template("{bar:24.cyan/dim} {percent:>3} %  {msg}")
                .unwrap_or(plain)
                .progress_chars("━╸─"),
        );
        Progress { bar, begun: Cell::new(Instant::now()), before: Cell::new(0), step: Cell::new(0) }
    }

    /// The next step begins.
    pub(super) fn step(&self, what: &str, time: Duration) {
        self.before.set(self.before.get() + self.step.get());
        self.step.set(millis(time));
        self.begun.set(Instant::now());
        self.bar.set_message(what.to_owned());
        self.tick();
    }

    pub(super) fn tick(&self) {
        let elapsed = millis(self.begun.get().elapsed()).min(self.step.get());
        let most = self.bar.length().unwrap_or(0);
        self.bar.set_position((self.before.get() + elapsed).min(most));
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
