//! The progress of a run, for a person at a terminal.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use crate::output;

/// The bar's width in characters.
const WIDTH: usize = 24;
/// The least time between two drawings of the bar.
const REDRAW: Duration = Duration::from_millis(100);

/// A bar on standard error, if that is a terminal.
pub(super) struct Progress {
    is_shown: bool,
    has_colours: bool,
    all: Duration,
    what: RefCell<String>,
    begun: Cell<Instant>,
    drawn: Cell<Option<Instant>>,
    /// The expected time of the steps before this one.
    before: Cell<Duration>,
    /// The expected time of this step.
    step: Cell<Duration>,
}

impl Progress {
    /// Makes the bar for a run that should take this long in all.
    pub(super) fn new(all: Duration) -> Progress {
        Progress {
            is_shown: stderr().is_terminal(),
            has_colours: output::has_colours(&stderr()),
            all,
            what: RefCell::default(),
            begun: Cell::new(Instant::now()),
            drawn: Cell::default(),
            before: Cell::default(),
            step: Cell::default(),
        }
    }

    /// Begins the next step.
    pub(super) fn step(&self, what: &str, time: Duration) {
        self.before.set(self.before.get() + self.step.get());
        self.step.set(time);
        self.begun.set(Instant::now());
        self.what.replace(what.to_owned());
        self.drawn.take();
        self.tick();
    }

    pub(super) fn tick(&self) {
        if !self.is_shown || self.drawn.get().is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn.set(Some(Instant::now()));
        let done = self.before.get() + self.begun.get().elapsed().min(self.step.get());
        let part = done.as_secs_f64() / self.all.as_secs_f64().max(f64::MIN_POSITIVE);
        output::live(&bar(part, &self.what.borrow(), self.has_colours));
    }

    pub(super) fn clear(&self) {
        output::live_over();
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of 100")]
fn bar(part: f64, what: &str, has_colours: bool) -> String {
    let percent = (part.clamp(0.0, 1.0) * 100.0) as usize;
    let full = WIDTH * percent / 100;
    let (full, empty) = ("━".repeat(full), "─".repeat(WIDTH - full));
    match has_colours {
        true => format!("\x1b[36m{full}\x1b[0;2m{empty}\x1b[0m {percent:>3} %  {what}"),
        false => format!("{full}{empty} {percent:>3} %  {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_is_as_full_as_its_part() {
        for (part, shown) in [
            (0.0, "────────────────────────   0 %  w"),
            (0.5, "━━━━━━━━━━━━────────────  50 %  w"),
            (9.0, "━━━━━━━━━━━━━━━━━━━━━━━━ 100 %  w"),
        ] {
            assert_eq!(bar(part, "w", false), shown);
        }
        assert!(bar(f64::NAN, "", false).contains(" 0 %"));
    }
}
