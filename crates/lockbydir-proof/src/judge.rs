//! The exact judge of what worker processes noted down while they ran.
//!
//! Every worker writes a history of its own, line by line, each line in one `write`:
//!
//! | line | meaning |
//! |---|---|
//! | `start NS DEADLINE TOKEN HOW` | written after acquire returned at NS; valid until DEADLINE |
//! | `renew DEADLINE` | a renewal succeeded, valid until DEADLINE now. After a lapse too: its success claims that nobody held in between |
//! | `end NS` | about to release, at NS |
//! | `released` | that release succeeded. After a lapse too, and claims the same |
//! | `gave-up` | a wait ended without the lock |
//! | `lost` | a renewal or the release said that the lock was lost |
//! | `killed NS` | about to be killed, at NS |
//! | `stopped NS` | about to be stopped, at NS |
//! | `outlived` | the deadline passed, and `is_held` said so |
//! | `lie TEXT` | the library said something untrue |
//!
//! A hold is *valid* from `start` until its `end`, its deadline or its death, whichever is first,
//! and where a late renewal or release claims it, beyond the deadline. So a holder who was
//! overtaken and is not told so is found as an overlap, too. All times are [`crate::clock::now`],
//! and every estimate errs to the shorter interval: what is called an overlap is one.

use std::{fmt, fs, io, path::Path, time::Duration};

/// One valid hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The worker that held.
    pub worker: String,
    /// The fencing token.
    pub token: u64,
    /// Valid from this moment on.
    pub start: u64,
    /// Valid until this moment.
    pub end: u64,
    /// How it was got.
    pub how: String,
}

/// What the histories of a run say.
#[derive(Debug, Default)]
pub struct Record {
    /// All holds, in no order.
    pub holds: Vec<Hold>,
    /// Workers killed.
    pub killed: usize,
    /// Times a worker was stopped.
    pub stopped: usize,
    /// Times a holder outlived its deadline, and knew.
    pub outlived: usize,
    /// Times a holder was told of its loss.
    pub lost: usize,
    /// Waits that ended without the lock.
    pub gave_up: usize,
    /// Untrue statements, and lines that are no history.
    pub lies: Vec<String>,
}

/// What is wrong with a record: all empty, or a promise is broken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Pairs of holds valid at the same time.
    pub overlaps: Vec<(Hold, Hold)>,
    /// Pairs of an earlier hold and a later one whose token is not larger.
    pub regressions: Vec<(Hold, Hold)>,
    /// Untrue statements.
    pub lies: Vec<String>,
}

impl Verdict {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Fails the test with an example of everything that is wrong.
    pub fn assert_clean(&self) {
        let examples = (self.overlaps.first(), self.regressions.first(), self.lies.first());
        assert!(self.is_clean(), "{self}, for example {examples:#?}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { overlaps, regressions, lies } = self;
        let (overlaps, regressions) = (overlaps.len(), regressions.len());
        write!(f, "{overlaps} overlaps, {regressions} tokens not larger, {} lies", lies.len())
    }
}

impl Record {
    /// Adds the history of one worker.
    pub fn add(&mut self, worker: &str, history: &str) {
        let mut open: Option<Hold> = None;
        // When the release of the open one was begun.
        let mut let_go = None;
        let mut death = u64::MAX;
        // The last line of a killed worker may be cut short: it counts as not written.
        for line in history.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            let number =
                |index: usize| words.get(index).and_then(|word: &&str| word.parse::<u64>().ok());
            match (words[0], number(1), number(2), number(3)) {
                ("start", Some(start), Some(end), Some(token)) => {
                    self.holds.extend(open.take());
                    let (worker, how) = (worker.to_owned(), words[4..].join(" "));
                    open = Some(Hold { worker, token, start, end, how });
                    let_go = None;
                }
                ("renew", Some(deadline), ..) if open.is_some() => {
                    if let Some(hold) = &mut open {
                        hold.end = deadline;
                    }
                }
                ("end", Some(end), ..) if open.is_some() => {
                    if let Some(hold) = &mut open {
                        hold.end = hold.end.min(end);
                        let_go = Some(end);
                    }
                }
                ("released", ..) if let_go.is_some() => {
                    if let (Some(mut hold), Some(end)) = (open.take(), let_go.take()) {
                        hold.end = end;
                        self.holds.push(hold);
                    }
                }
                ("lost", ..) => {
                    self.lost += 1;
                    self.holds.extend(open.take());
                }
                ("killed", Some(moment), ..) => {
                    self.killed += 1;
                    death = moment;
                }
                ("stopped", Some(_), ..) => self.stopped += 1,
                ("outlived", ..) => self.outlived += 1,
                ("gave-up", ..) => self.gave_up += 1,
                _ => self.lies.push(format!("{worker}: {line}")),
            }
        }
        self.holds.extend(open);
        // A dying worker's last moments: whatever it held ended with it.
        for hold in self.holds.iter_mut().filter(|hold| hold.worker == worker) {
            hold.end = hold.end.min(death);
        }
    }

    /// Reads every `*.history` in `folder`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut record = Self::default();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|kind| kind == "history") {
                let worker = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                record.add(&worker, &fs::read_to_string(&path)?);
            }
        }
        Ok(record)
    }

    /// The times in which nobody held, from the shortest to the longest.
    #[must_use]
    pub fn gaps(&self) -> Vec<Duration> {
        let mut by_start: Vec<&Hold> = self.holds.iter().collect();
        by_start.sort_by_key(|hold| hold.start);
        let mut ended = u64::MAX;
        let mut gaps = Vec::new();
        for hold in by_start {
            if ended < u64::MAX {
                gaps.push(Duration::from_nanos(hold.start.saturating_sub(ended)));
                ended = ended.max(hold.end);
            } else {
                ended = hold.end;
            }
        }
        gaps.sort();
        gaps
    }

    /// Judges it.
    #[must_use]
    pub fn judge(&self) -> Verdict {
        let mut verdict = Verdict { lies: self.lies.clone(), ..Verdict::default() };
        // A hold that ended before it began was never valid, and cannot overlap; its token counts.
        let mut by_start: Vec<&Hold> = self.holds.iter().collect();
        by_start.sort_by_key(|hold| hold.start);
        let mut by_end = by_start.clone();
        by_end.sort_by_key(|hold| hold.end.max(hold.start));

        let mut latest: Option<&Hold> = None;
        for hold in by_start.iter().copied().filter(|hold| hold.end > hold.start) {
            if let Some(before) = latest.filter(|before| before.end > hold.start) {
                verdict.overlaps.push((before.clone(), hold.clone()));
            }
            if latest.is_none_or(|before| before.end < hold.end) {
                latest = Some(hold);
            }
        }

        // Everything that ended before a hold started has a smaller token: compare with the largest.
        let mut ended = by_end.into_iter().peekable();
        let mut largest: Option<&Hold> = None;
        for hold in by_start {
            while let Some(before) =
                ended.next_if(|before| before.end.max(before.start) < hold.start)
            {
                if largest.is_none_or(|known| known.token < before.token) {
                    largest = Some(before);
                }
            }
            // One that was over when it was noted down was stopped between the two: when it began is
            // not known.
            let began = hold.end > hold.start;
            if let Some(before) = largest.filter(|before| began && before.token >= hold.token) {
                verdict.regressions.push((before.clone(), hold.clone()));
            }
        }
        verdict
    }
}

/// How many of `expected` increments a counter has lost.
#[must_use]
pub fn lost_increments(counter: &str, expected: u64) -> u64 {
    expected.abs_diff(counter.trim().parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(histories: &[(&str, &str)]) -> Verdict {
        let mut record = Record::default();
        for (worker, history) in histories {
            record.add(worker, history);
        }
        record.judge()
    }

    #[test]
    fn a_good_history_is_clean() {
        let verdict = judged(&[
            ("a", "start 10 100 1 free\nend 20\nstart 50 150 3 free\nrenew 400\nend 300\n"),
            ("b", "start 25 125 2 free\nend 45\nstart 301 400 4 free\n"),
        ]);

        assert!(verdict.is_clean(), "{verdict:?}");
    }

    #[test]
    fn two_holds_at_once_are_found() {
        let verdict = judged(&[
            ("a", "start 10 100 1 free\nend 30\n"),
            ("b", "start 29 100 2 free\nend 40\n"),
        ]);

        assert_eq!(verdict.overlaps.len(), 1);
    }

    #[test]
    fn an_overlap_with_a_long_hold_is_found_behind_short_ones() {
        let verdict = judged(&[
            ("a", "start 10 1000 1 free\nend 900\n"),
            ("b", "start 20 100 2 free\nend 30\nstart 500 600 3 free\nend 510\n"),
        ]);

        assert_eq!(verdict.overlaps.len(), 2);
    }

    #[test]
    fn a_hold_never_ended_overlaps_until_its_deadline_and_not_after() {
        let open = ("a", "start 10 100 1 free\n");

        assert_eq!(judged(&[open, ("b", "start 99 200 2 free\nend 120\n")]).overlaps.len(), 1);
        assert!(judged(&[open, ("b", "start 100 200 2 free\nend 120\n")]).is_clean());
    }

    #[test]
    fn a_killed_one_holds_until_its_death() {
        let killed = ("a", "start 10 100 1 free\nkilled 50\n");

        assert_eq!(judged(&[killed, ("b", "start 49 200 2 free\nend 120\n")]).overlaps.len(), 1);
        assert!(judged(&[killed, ("b", "start 51 200 2 free\nend 120\n")]).is_clean());
    }

    #[test]
    fn a_late_renewal_while_another_held_is_found() {
        let verdict = judged(&[
            ("a", "start 10 100 1 free\noutlived\nrenew 400\nend 350\n"),
            ("b", "start 120 220 2 lapse\nend 130\n"),
        ]);

        assert_eq!(verdict.overlaps.len(), 1);
    }

    #[test]
    fn a_late_release_while_another_held_is_found() {
        let other = ("b", "start 120 220 2 lapse\nend 130\nreleased\n");

        let told = ("a", "start 10 100 1 free\noutlived\nend 140\nlost\n");
        assert!(judged(&[told, other]).is_clean());
        let not_told = ("a", "start 10 100 1 free\noutlived\nend 140\nreleased\n");
        assert_eq!(judged(&[not_told, other]).overlaps.len(), 1);
    }

    #[test]
    fn a_token_that_does_not_grow_is_found() {
        let before = ("a", "start 10 100 7 free\nend 20\n");

        assert_eq!(judged(&[before, ("b", "start 30 100 7 free\nend 40\n")]).regressions.len(), 1);
        assert_eq!(judged(&[before, ("b", "start 30 100 6 free\nend 40\n")]).regressions.len(), 1);
        assert!(judged(&[before, ("b", "start 30 100 8 free\nend 40\n")]).is_clean());
    }

    #[test]
    fn a_lie_and_a_line_of_no_history_are_found() {
        assert_eq!(judged(&[("a", "lie held after the deadline\nnonsense\n")]).lies.len(), 2);
    }

    #[test]
    fn a_last_line_cut_short_counts_as_not_written() {
        assert!(judged(&[("a", "start 10 100 1 free\nend 2")]).is_clean());
    }

    #[test]
    fn a_lost_increment_is_found() {
        assert_eq!(lost_increments("41\n", 42), 1);
        assert_eq!(lost_increments("42\n", 42), 0);
        assert_eq!(lost_increments("", 42), 42);
    }
}
