//! The histories of all workers, read from the pipe into which they write.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, PipeReader},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::history::Record;

/// The number of lines before and after a fault that are shown.
const CONTEXT_LINES: usize = 8;

/// The histories of all workers as they arrive.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    by_name: Mutex<BTreeMap<String, String>>,
    /// The number of holds so far, and of those that were waited for while another held.
    pub(crate) holds: AtomicU64,
    pub(crate) contended: AtomicU64,
    /// The place of the worker that acquired the lock last.
    pub(crate) holder: AtomicUsize,
    /// The place of the worker that has not reported the end of its hold yet, plus 1; 0 for none.
    holding: AtomicUsize,
}

impl Histories {
    fn histories(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the place of the holder, as far as it is known from the histories.
    pub(crate) fn holding(&self) -> Option<usize> {
        self.holding.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Adds a line to the history of this name.
    pub(crate) fn note(&self, name: &str, line: &str) {
        let mut histories = self.histories();
        let history = match histories.get_mut(name) {
            Some(history) => history,
            None => histories.entry(name.to_owned()).or_default(),
        };
        history.push_str(line);
        history.push('\n');
    }

    /// Returns the lines of a history shortly before and after a moment.
    pub(crate) fn around(&self, name: &str, moment: u64) -> Vec<String> {
        let histories = self.histories();
        let lines: Vec<&str> = histories.get(name).map_or("", String::as_str).lines().collect();
        let is_before = |line: &&&str| {
            let time = line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
            time.is_none_or(|time| time <= moment)
        };
        let middle = lines.iter().take_while(is_before).count();
        let from = middle.saturating_sub(CONTEXT_LINES);
        let shown = lines.iter().skip(from).take(2 * CONTEXT_LINES);
        shown.map(|line| format!("{name} {line}")).collect()
    }

    /// Returns the record of all histories so far.
    pub(crate) fn record(&self) -> Record {
        let mut record = Record::default();
        for (name, history) in &*self.histories() {
            record.add(name, history);
        }
        record
    }

    pub(super) fn listen(&self, pipe: PipeReader) {
        let mut ended = 0;
        for line in BufReader::with_capacity(1 << 16, pipe).lines().map_while(Result::ok) {
            let Some((name, line)) = line.split_once(' ') else {
                self.note("unknown", &format!("lie {line}"));
                continue;
            };
            self.note(name, line);
            let mut words = line.split(' ');
            let word = words.next().unwrap_or_default();
            let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
            let place = name.split('.').next().and_then(|place| place.parse::<usize>().ok());
            let holding = place.map_or(0, |place| place + 1);
            if word == "start" {
                self.holds.fetch_add(1, Ordering::Relaxed);
                let waited_for = number(words.nth(4)).is_some_and(|since| since < ended);
                self.contended.fetch_add(u64::from(waited_for), Ordering::Relaxed);
                if let Some(place) = place {
                    self.holder.store(place, Ordering::Relaxed);
                    self.holding.store(holding, Ordering::Relaxed);
                }
            } else if matches!(word, "end" | "lost") {
                // Another hold may have begun before this line is read.
                let (order, of) = (Ordering::Relaxed, &self.holding);
                let _ = of.compare_exchange(holding, 0, order, order);
            }
            if word == "end" {
                ended = ended.max(number(words.next()).unwrap_or(0));
            }
        }
    }
}
