//! The calm times of a run: those without a fault.

use std::time::Duration;

use crate::history::Record;

/// The total of the calm times. A fault is over when its cause is repaired and somebody has acquired the
/// lock since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calm {
    /// Their total length.
    pub lasted: Duration,
    /// The number of acquisitions in them.
    pub holds: usize,
}

impl Calm {
    /// Returns the calm times of a run between two moments.
    #[must_use]
    pub fn of(record: &Record, begun: u64, ended: u64) -> Self {
        let mut starts: Vec<u64> = record.holds.iter().map(|hold| hold.start).collect();
        starts.sort_unstable();
        let mut faults: Vec<(u64, u64)> = record
            .faults
            .iter()
            .map(|fault| {
                let next = starts.partition_point(|&start| start <= fault.to);
                (fault.from, starts.get(next).copied().unwrap_or(ended).max(fault.to))
            })
            .collect();
        faults.push((ended, ended));
        faults.sort_unstable();
        let mut calm = Self::default();
        let mut since = begun;
        for (from, to) in faults {
            if since < from {
                calm.lasted += Duration::from_nanos(from - since);
                let before = |moment| starts.partition_point(|&start| start < moment);
                calm.holds += before(from) - before(since);
            }
            since = since.max(to);
        }
        calm
    }

    /// Returns the acquisitions per second.
    #[must_use]
    pub fn rate(self) -> f64 {
        if self.lasted.is_zero() { 0.0 } else { self.holds as f64 / self.lasted.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Calm;
    use crate::history::{Hold, Record, Span};

    #[test]
    fn a_fault_lasts_until_the_next_acquisition() {
        let holds = [10, 20, 30, 60, 70, 80].map(|start| Hold { start, ..Hold::default() });
        let faults = [(25, 40), (26, 35), (65, 65)].map(|(from, to)| Span { from, to });
        let record = Record { holds: holds.into(), faults: faults.into(), ..Record::default() };

        let calm = Calm::of(&record, 0, 100);

        // 0 to 25, 60 to 65, and 70 to 100.
        assert_eq!(calm, Calm { lasted: Duration::from_nanos(60), holds: 5 });
    }
}
