//! The exact judge of a recorded history.
//!
//! A hold is *valid* from `start` until its `end`, its deadline or its death, whichever is first, and
//! beyond the deadline where a late renewal or release claims it. So a holder that was overtaken and does
//! not learn of it is found as an overlap, too. Where somebody removed the lock directory by hand, every
//! hold that may have been in it is over by then, and numbers restart. Every estimate errs on the side
//! of the shorter interval: a reported overlap is a real one.

use std::{fmt, time::Duration};

use lockbydir_protocol::promise;

use crate::history::{Hold, Record, Span};

/// Pairs of two holds that conflict, the earlier one first.
pub type Pairs = Vec<(Hold, Hold)>;

/// The faults of a record. If any field is not empty, a promise is broken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Pairs of holds valid at the same time.
    pub overlaps: Pairs,
    /// Pairs of an earlier hold and a later one whose token is not larger.
    pub regressions: Pairs,
    /// Pairs of a hold that wrote, and an earlier one of which the store accepted a write afterwards.
    pub undercut: Pairs,
    /// Pairs of a hold that wrote, and a valid one of which the store refused a write afterwards.
    pub shut_out: Pairs,
    /// Holds that were lost before their deadline.
    pub robbed: Vec<Hold>,
    /// The longest time in which nobody held while a process waited that could have held, if it is too
    /// long, with the hold that ended it.
    pub stall: Option<(Duration, Hold)>,
    /// Untrue statements.
    pub lies: Vec<String>,
}

/// The results of late writes: those of holders whose deadline had passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateWrites {
    /// The number of late writes.
    pub tried: usize,
    /// The number of those that followed a later holder's write.
    pub overtaken: usize,
    /// The number of the overtaken ones that were refused.
    pub refused: usize,
}

impl Verdict {
    /// Returns true if nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the promise that is broken, the most severe if there are several, and how it is broken.
    #[must_use]
    pub fn broken(&self) -> Option<(&'static str, String)> {
        let [overlap, regression, undercut, shut_out] =
            [&self.overlaps, &self.regressions, &self.undercut, &self.shut_out].map(|pairs| {
                let earliest = pairs.iter().min_by_key(|(_, second)| second.start);
                earliest.map(|(first, second)| format!("first: {first}\n  then:  {second}"))
            });
        let describe = |what: &'static str| move |pair: String| format!("{what}\n  {pair}");
        let overlap = overlap.map(describe("two held at once"));
        let numbers = regression
            .map(describe("a later token is not larger"))
            .or(undercut
                .map(describe("the store took a write of an older holder after a newer one's")))
            .or(shut_out.map(describe("the store refused a valid holder")));
        let robbed = self.robbed.first().map(|hold| format!("lost before its deadline\n  {hold}"));
        let stall = self.stall.as_ref().map(|(stall, hold)| {
            format!("nobody held for {stall:.1?} while somebody waited\n  until: {hold}")
        });
        let lie = self.lies.first().map(|lie| format!("an untrue statement: {lie}"));
        [
            (promise::AT_MOST_ONE_VALID_HOLDER, overlap),
            (promise::NUMBERS_GROW, numbers),
            (promise::ONLY_THE_HOLDER_ENDS_A_HOLD, robbed),
            (promise::THE_QUEUE_MOVES, stall),
            (promise::AT_MOST_ONE_VALID_HOLDER, lie),
        ]
        .into_iter()
        .find_map(|(promise, how)| how.map(|how| (promise, how)))
    }

    /// Returns the two holds of the first fault that has two.
    #[must_use]
    pub fn first_pair(&self) -> Option<&(Hold, Hold)> {
        let kinds = [&self.overlaps, &self.regressions, &self.undercut, &self.shut_out];
        let earliest = kinds.map(|pairs| pairs.iter().min_by_key(|(_, second)| second.start));
        earliest.into_iter().flatten().next()
    }

    /// Fails the test with an example of what is wrong.
    pub fn assert_clean(&self) {
        if let Some((promise, how)) = self.broken() {
            panic!("{self}; broken: \"{promise}\": {how}");
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { overlaps, regressions, undercut, shut_out, robbed, stall, lies } = self;
        write!(
            f,
            "{} overlaps, {} tokens not larger, {} old writes taken, {} valid ones refused, {} \
             robbed, {} stalls, {} lies",
            overlaps.len(),
            regressions.len(),
            undercut.len(),
            shut_out.len(),
            robbed.len(),
            usize::from(stall.is_some()),
            lies.len()
        )
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, token, start, end, how, since, .. } = self;
        let seconds = |moment: u64| moment as f64 / 1e9;
        write!(
            f,
            "worker {worker}, token {token}, valid from {:.6} s to {:.6} s, got {how} after a wait \
             of {:.1?}",
            seconds(*start),
            seconds(*end),
            Duration::from_nanos(start.saturating_sub(*since))
        )
    }
}

/// A hold, and how removals by hand affect it.
struct Judged<'a> {
    hold: &'a Hold,
    /// The end of its validity.
    end: u64,
    /// The number of removals before it; `None` if that is unknown.
    life: Option<usize>,
}

impl Judged<'_> {
    fn is_valid(&self) -> bool {
        self.end > self.hold.start
    }
}

impl Record {
    /// Judges the record.
    #[must_use]
    pub fn judge(&self) -> Verdict {
        self.judge_within(Duration::MAX)
    }

    /// Judges the record. The lock may be free for at most `stall` while somebody waits.
    #[must_use]
    pub fn judge_within(&self, stall: Duration) -> Verdict {
        let mut by_start = self.judged();
        by_start.sort_by_key(|judged| judged.hold.start);
        let (undercut, shut_out) = self.writes_out_of_order(&by_start);
        let robbed = by_start.iter().filter(|judged| {
            // Valid until its deadline or its own end; a removal by hand is no robbery.
            judged.end == judged.hold.end
                && judged.hold.lost.is_some_and(|lost| lost < judged.hold.end)
        });
        Verdict {
            overlaps: overlaps(&by_start),
            regressions: regressions(&by_start),
            undercut,
            shut_out,
            robbed: robbed.map(|judged| judged.hold.clone()).collect(),
            stall: self.longest_stall().filter(|(longest, _)| *longest > stall),
            lies: self.lies.clone(),
        }
    }

    fn judged(&self) -> Vec<Judged<'_>> {
        let mut removals = self.removals.clone();
        removals.sort_by_key(|removal| removal.from);
        let judged = self.holds.iter().map(|hold| {
            let life = removals.partition_point(|removal| removal.to < hold.stamp);
            match removals.get(life) {
                Some(removal) if removal.from <= hold.end.max(hold.start) => {
                    // If it was recorded before `from`, it was published before `from`, too.
                    let known = hold.start < removal.from;
                    Judged { hold, end: hold.end.min(removal.from), life: known.then_some(life) }
                }
                _ => Judged { hold, end: hold.end, life: Some(life) },
            }
        });
        judged.collect()
    }

    /// Returns the times in which nobody held, from the shortest to the longest.
    #[must_use]
    pub fn gaps(&self) -> Vec<Duration> {
        let mut gaps: Vec<Duration> =
            self.spans_without_holder().iter().map(|(gap, _)| gap.length()).collect();
        gaps.sort();
        gaps
    }

    /// Returns the times in which nobody held, each with the hold that ended it.
    fn spans_without_holder(&self) -> Vec<(Span, &Hold)> {
        let mut by_start: Vec<&Hold> = self.holds.iter().collect();
        by_start.sort_by_key(|hold| hold.start);
        let mut ended = by_start.first().map_or(0, |hold| hold.end);
        let mut spans = Vec::new();
        for hold in by_start.into_iter().skip(1) {
            spans.push((Span { from: ended, to: hold.start.max(ended) }, hold));
            ended = ended.max(hold.end);
        }
        spans
    }

    /// Returns the number of holds that were waited for while another held: contended handoffs.
    #[must_use]
    pub fn contended(&self) -> usize {
        let mut by_start: Vec<&Hold> = self.holds.iter().collect();
        by_start.sort_by_key(|hold| hold.start);
        let mut ended = 0;
        let waited_for = by_start.into_iter().filter(|hold| {
            let was_held = hold.since < ended;
            ended = ended.max(hold.end);
            was_held
        });
        waited_for.count()
    }

    /// Returns the longest time in which nobody held while a process waited that was not stopped and not
    /// hindered, with the hold that ended it.
    #[must_use]
    pub fn longest_stall(&self) -> Option<(Duration, Hold)> {
        let mut spans = self.spans_without_holder();
        spans.sort_by_key(|(span, _)| std::cmp::Reverse(span.length()));
        let mut worst: Option<(Duration, &Hold)> = None;
        for (span, hold) in spans {
            if worst.is_some_and(|(longest, _)| span.length() <= longest) {
                break;
            }
            // A hindrance ends somewhere in the span: only the time after it counts.
            let touching = self.hindrances.iter().filter(|hindrance| hindrance.overlaps(&span));
            let from = touching.map(|hindrance| hindrance.to).max().unwrap_or(0).max(span.from);
            let waits = self.waits.iter().filter_map(|wait| {
                let from = wait.from.max(from);
                let to = wait.to.min(span.to);
                (from < to).then_some(Span { from, to }.length())
            });
            if let Some(longest) = waits.max()
                && worst.is_none_or(|(known, _)| longest > known)
            {
                worst = Some((longest, hold));
            }
        }
        worst.map(|(longest, hold)| (longest, hold.clone()))
    }

    /// Returns the results of late writes.
    #[must_use]
    pub fn late_writes(&self) -> LateWrites {
        let mut late = LateWrites::default();
        let mut newest = 0;
        for (write, hold) in self.writes() {
            if write.late {
                late.tried += 1;
                late.overtaken += usize::from(hold.start < newest);
                late.refused += usize::from(hold.start < newest && !write.accepted);
            }
            if write.accepted && hold.is_known_since() {
                newest = newest.max(hold.start);
            }
        }
        late
    }

    /// Returns all writes, in the store's order.
    fn writes(&self) -> Vec<(crate::history::Write, &Hold)> {
        let mut writes: Vec<_> = self
            .holds
            .iter()
            .flat_map(|hold| hold.writes.iter().map(move |write| (*write, hold)))
            .collect();
        writes.sort_by_key(|(write, _)| write.moment);
        writes
    }

    /// Returns the writes accepted after a later holder's write, and the refused writes of valid holders, as
    /// pairs of the hold that wrote before and the hold whose write has the wrong result.
    fn writes_out_of_order(&self, by_start: &[Judged<'_>]) -> (Pairs, Pairs) {
        let judged = |hold: &Hold| {
            let at = by_start.partition_point(|judged| judged.hold.start < hold.start);
            by_start[at..].iter().find(|judged| std::ptr::eq(judged.hold, hold))
        };
        // Holds during a removal by hand may begin before or after the holds that follow them.
        let is_of_a_life = |hold: &Hold| judged(hold).is_some_and(|judged| judged.life.is_some());
        let (mut undercut, mut shut_out) = (Vec::new(), Vec::new());
        let mut newest: Option<&Hold> = None;
        let mut largest: Option<&Hold> = None;
        for (write, hold) in self.writes() {
            if write.accepted {
                match newest {
                    Some(newer)
                        if newer.start > hold.start
                            && is_of_a_life(newer)
                            && is_of_a_life(hold) =>
                    {
                        undercut.push((newer.clone(), hold.clone()));
                    }
                    _ if hold.is_known_since() => newest = Some(hold),
                    _ => {}
                }
                if largest.is_none_or(|known| known.token < hold.token) {
                    largest = Some(hold);
                }
            } else if let (Some(own), Some(other)) = (judged(hold), largest)
                && (hold.start..own.end).contains(&write.moment)
                && own.life.is_some()
                && judged(other).is_some_and(|other| other.life == own.life)
            {
                shut_out.push((other.clone(), hold.clone()));
            }
        }
        (undercut, shut_out)
    }
}

impl Hold {
    /// Whether its start is known. A hold that was over when it was recorded belongs to a process that was
    /// stopped in between: its start is unknown.
    fn is_known_since(&self) -> bool {
        self.end > self.start
    }
}

impl Span {
    fn length(&self) -> Duration {
        Duration::from_nanos(self.to.saturating_sub(self.from))
    }

    fn overlaps(&self, other: &Span) -> bool {
        self.from < other.to && other.from < self.to
    }
}

fn overlaps(by_start: &[Judged<'_>]) -> Pairs {
    let mut overlaps = Vec::new();
    let mut latest: Option<&Judged<'_>> = None;
    // A hold that ended before it began was never valid, and cannot overlap; its token counts.
    for judged in by_start.iter().filter(|judged| judged.is_valid()) {
        if let Some(before) = latest.filter(|before| before.end > judged.hold.start) {
            overlaps.push((before.hold.clone(), judged.hold.clone()));
        }
        if latest.is_none_or(|before| before.end < judged.end) {
            latest = Some(judged);
        }
    }
    overlaps
}

/// Finds tokens that are not larger than all tokens of holds that ended before, in the same life of the
/// directory. Comparing with the largest of those is enough.
fn regressions(by_start: &[Judged<'_>]) -> Pairs {
    let over = |judged: &Judged<'_>| judged.end.max(judged.hold.start);
    let mut by_end: Vec<&Judged<'_>> = by_start.iter().collect();
    by_end.sort_by_key(|judged| over(judged));
    let mut ended = by_end.into_iter().filter(|judged| judged.life.is_some()).peekable();
    let mut largest: Option<&Judged<'_>> = None;
    let mut regressions = Vec::new();
    for judged in by_start.iter().filter(|judged| judged.life.is_some()) {
        while let Some(before) = ended.next_if(|before| over(before) < judged.hold.start) {
            let is_larger = |known: &Judged<'_>| {
                (known.life, known.hold.token) < (before.life, before.hold.token)
            };
            if largest.is_none_or(is_larger) {
                largest = Some(before);
            }
        }
        let smaller = |before: &&Judged<'_>| {
            judged.is_valid()
                && before.life == judged.life
                && before.hold.token >= judged.hold.token
        };
        if let Some(before) = largest.filter(smaller) {
            regressions.push((before.hold.clone(), judged.hold.clone()));
        }
    }
    regressions
}

#[cfg(test)]
mod tests;
