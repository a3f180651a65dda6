//! The period of time that the lanes of a lock show, and how keys move it.

use super::chart::Stretch;

/// How long ended spans are shown, in seconds.
pub(super) const HISTORY: f64 = 300.0;
/// The period of time that is shown.
#[derive(Debug)]
pub(super) struct Window {
    /// The index in [`STEPS`].
    zoom: usize,
    /// Its right end while paused; otherwise that is now.
    end: Option<f64>,
    top: usize,
    page: usize,
    /// The width of the widest name up to now.
    names: u16,
    /// Its length when it was last drawn, in seconds.
    long: f64,
}

/// The zoom steps, in seconds per character.
const STEPS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

impl Default for Window {
    fn default() -> Window {
        Window { zoom: 5, end: None, top: 0, page: 1, names: 0, long: 1.0 }
    }
}

impl Window {
    pub(super) fn stretch(&mut self, now: f64, width: u16) -> Stretch {
        let step = STEPS[self.zoom];
        self.long = step * f64::from(width);
        // Rounded up to whole characters, so that the lanes move by whole characters.
        let end = (self.end.unwrap_or(now) / step).ceil() * step;
        Stretch { from: end - self.long, step, width }
    }

    pub(super) fn scrolled(&mut self, lanes: usize, page: usize) -> usize {
        self.page = page;
        self.top = self.top.min(lanes.saturating_sub(page));
        self.top
    }

    /// Returns the width for names. It only grows, so that the lanes do not jump.
    pub(super) fn names_as_wide_as(&mut self, widest: usize) -> u16 {
        self.names = self.names.max(u16::try_from(widest).unwrap_or(u16::MAX));
        self.names
    }

    pub(super) fn is_paused(&self) -> bool {
        self.end.is_some()
    }

    /// Returns the seconds per character.
    pub(super) fn step(&self) -> f64 {
        STEPS[self.zoom]
    }

    /// Pauses, or continues with the present.
    pub(super) fn pause(&mut self, now: f64) {
        self.end = if self.is_paused() { None } else { Some(now) };
    }

    pub(super) fn live(&mut self) {
        self.end = None;
    }

    /// Moves by quarters of the period: later if positive, earlier if negative.
    pub(super) fn shift(&mut self, quarters: f64, now: f64) {
        let end = self.end.unwrap_or(now) + quarters * self.long / 4.0;
        self.end = (end < now).then_some(end);
    }

    /// Zooms in or out by one step.
    pub(super) fn zoom(&mut self, is_in: bool) {
        self.zoom = match is_in {
            true => self.zoom.saturating_sub(1),
            false => (self.zoom + 1).min(STEPS.len() - 1),
        };
    }

    pub(super) fn scroll(&mut self, rows: isize) {
        self.top = self.top.saturating_add_signed(rows);
    }

    pub(super) fn page(&self) -> isize {
        isize::try_from(self.page).unwrap_or(isize::MAX)
    }
}
