//! The report of a run: the figures, and the verdict in words.

mod json;

use std::{fmt, time::Duration};

use lockbydir_protocol::promise;

use super::{
    Calm, Ground, Plan,
    done::Done,
    fault::Fault,
    handoffs::handoffs,
    histories::Histories,
    set::{Care, Kept},
    worker::LockUnderTest,
};
use crate::{
    history::Record,
    judge::{LateWrites, Verdict},
};

/// The figures of a run.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    /// The histories of the run.
    pub record: Record,
    /// The verdict of the judge.
    pub verdict: Verdict,
    /// The number of holds that were waited for while another held.
    pub contended: usize,
    /// The results of late writes.
    pub late: LateWrites,
    /// The longest time in which nobody held while a process waited that could have held.
    pub stall: Duration,
    /// The duration of the run.
    pub took: Duration,
    /// The increments that the unguarded counter lost, if there was one.
    pub lost_increments: Option<u64>,
    /// The state of the set at the end, if there was one.
    pub kept: Option<Kept>,
    /// The times in which no member of a cluster and no worker had a fault.
    pub calm: Calm,
    /// The durations of handoffs on one host, and between two, on NFS.
    pub handoffs: [Vec<Duration>; 2],
    /// When two held at once for the first time, counted from the beginning, and after how many holds.
    pub first_overlap: Option<(Duration, usize)>,
    /// The lines of the two histories around the first fault.
    evidence: Vec<String>,
    done: Done,
    others: Vec<(&'static str, String)>,
}

/// The conclusion of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// All promises were kept.
    Kept,
    /// This promise was broken, and how.
    Broken(&'static str, String),
    /// The run proves nothing, for this reason.
    Invalid(String),
}

impl Report {
    pub(crate) fn new(
        plan: &Plan,
        histories: &Histories,
        record: Record,
        verdict: Verdict,
        done: Done,
        took: Duration,
        begun: u64,
    ) -> Self {
        let evidence = verdict.first_pair().map_or_else(Vec::new, |(one, other)| {
            let places = [(&one.worker, other.start), (&other.worker, other.start)];
            places.iter().flat_map(|(worker, moment)| histories.around(worker, *moment)).collect()
        });
        let calm = Calm::of(&record, begun, begun + took.as_nanos() as u64);
        let first = verdict.overlaps.iter().map(|(_, second)| second.start).min();
        let first_overlap = first.map(|moment| {
            let holds = record.holds.iter().filter(|hold| hold.start < moment).count();
            (Duration::from_nanos(moment.saturating_sub(begun)), holds)
        });
        Self {
            plan: plan.clone(),
            contended: record.contended(),
            handoffs: handoffs(&record),
            late: record.late_writes(),
            stall: record.longest_stall().map_or(Duration::ZERO, |(longest, _)| longest),
            record,
            verdict,
            took,
            lost_increments: None,
            kept: None,
            calm,
            first_overlap,
            evidence,
            done,
            others: Vec::new(),
        }
    }

    /// Records a promise that is broken, with evidence from outside the histories.
    pub(crate) fn breaks(&mut self, promise: &'static str, why: String) {
        self.others.push((promise, why));
    }

    /// Compares the counter with the number of holds.
    pub(crate) fn count(&mut self, counter: &str) {
        let counted: u64 = counter.trim().parse().unwrap_or(0);
        let lost = counted.abs_diff(self.record.holds.len() as u64);
        self.lost_increments = Some(lost);
        if lost > 0 {
            let why = format!("{lost} increments of an unguarded counter were lost");
            self.breaks(promise::AT_MOST_ONE_VALID_HOLDER, why);
        }
    }

    /// Compares the set with the elements whose writes were reported done. Nothing may be lost only where
    /// numbers are checked; otherwise losses are just counted.
    pub(crate) fn compare(&mut self, care: Care, all: &str) {
        let kept = Kept::of(&self.record.added, all);
        self.kept = Some(kept);
        if care == Care::Tokens && kept.lost > 0 {
            let why = format!("{} elements of an unguarded set were lost", kept.lost);
            self.breaks(promise::NUMBERS_GROW, why);
        }
    }

    /// Returns the acquisitions per second. On etcd and NFS: outside of faults.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.plan.ground != Ground::Folder {
            return self.calm.rate();
        }
        self.record.holds.len() as f64 / self.took.as_secs_f64()
    }

    /// Returns the conclusion.
    #[must_use]
    pub fn conclusion(&self) -> Conclusion {
        if self.is_an_old_reading() {
            return Conclusion::Invalid("two held at once by a clock that stood still".to_owned());
        }
        if let Some((promise, how)) = self.verdict.broken() {
            return Conclusion::Broken(promise, how);
        }
        if let Some((promise, how)) = self.others.first() {
            return Conclusion::Broken(promise, how.clone());
        }
        match self.nothing_shown() {
            Some(why) => Conclusion::Invalid(why),
            None => Conclusion::Kept,
        }
    }

    /// Fails the test if a promise was broken, or the run proves nothing.
    pub fn assert_kept(&self) {
        assert!(matches!(self.conclusion(), Conclusion::Kept), "{self}");
    }

    /// Whether all overlaps may have been recorded with an old reading of the clock: a takeover of an
    /// expired lock while the hosts' common clock stands still is recorded too early.
    fn is_an_old_reading(&self) -> bool {
        let stops =
            |moment| self.done.stops.iter().any(|stop| (stop.from..stop.to).contains(&moment));
        let overlaps = &self.verdict.overlaps;
        !overlaps.is_empty() && overlaps.iter().all(|(_, second)| stops(second.start))
    }

    fn longest_stop(&self) -> Duration {
        let lengths = self.done.stops.iter().map(|stop| stop.to - stop.from);
        Duration::from_nanos(lengths.max().unwrap_or(0))
    }

    /// Returns a fault that happened too seldom to show anything.
    fn untested(&self) -> Option<&'static str> {
        self.done.untested(&self.plan.faults, &self.record).map(Fault::word)
    }

    fn nothing_shown(&self) -> Option<String> {
        let rate = self.rate();
        // A known-bad lock waits by trying, and needs no speed.
        let least = self.plan.least_rate;
        if self.plan.contestant == LockUnderTest::Lockbydir && rate < f64::from(least) {
            return Some(format!(
                "{rate:.0} acquisitions a second; below {least} nothing is shown"
            ));
        }
        // By the judge's count, which may differ a little from the count during the run.
        let (asked, done) = (self.plan.handoffs, self.contended as u64);
        if asked != u64::MAX && done + done / 100 < asked {
            return Some(format!("only {done} of {asked} contended handoffs in the time given"));
        }
        self.untested().map(|word| format!("`{word}` put nothing to the test; take longer"))
    }

    fn faults(&self) -> String {
        let words: Vec<_> = self.plan.faults.iter().map(|fault| fault.word()).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }

    fn lock(&self) -> String {
        let value = serde_json::to_value(self.plan.contestant).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    }
}

/// Returns the duration that this share of them does not exceed.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Formats a number with separated thousands.
fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, verdict, late, done, plan, .. } = self;
        let place = match plan.ground {
            Ground::Folder => format!("in {}", plan.dir.display()),
            Ground::Etcd => {
                format!("on three members of etcd, their data in {}", plan.dir.display())
            }
            Ground::Nfs => format!("between two hosts, NFS {}", plan.mount),
        };
        writeln!(f, "{} {place}, seed {}", self.lock(), plan.seed)?;
        writeln!(
            f,
            "{} processes for {:.1?}, timeout {:?}, faults: {}\n",
            plan.processes,
            self.took,
            plan.timeout,
            self.faults()
        )?;
        let mut row = |left: &str, value: String, right: &str, found: String| {
            writeln!(f, "  {left:<26}{value:>12}      {right:<26}{found:>12}").map(|()| ())
        };
        let text = |value: usize| number(value);
        // A known-bad lock has no numbers and no queue, so they are not judged.
        let judged = |value: String| match plan.contestant {
            LockUnderTest::Lockbydir => value,
            _ => "-".to_owned(),
        };
        let counted = |value: usize| judged(number(value));
        let rate = number(self.rate() as usize);
        let (stall, allowed) = (self.stall, plan.longest_stall());
        row("acquisitions", text(record.holds.len()), "overlaps", text(verdict.overlaps.len()))?;
        row(
            "contended handoffs",
            text(self.contended),
            "token regressions",
            counted(verdict.regressions.len()),
        )?;
        let calm = format!("{:.1?}", self.calm.lasted);
        let a_second =
            if plan.ground == Ground::Folder { "a second" } else { "a second, while calm" };
        row(a_second, rate, "lost before the deadline", counted(verdict.robbed.len()))?;
        row("killed", text(record.killed), "late writes", text(late.tried))?;
        row("stopped", text(record.stopped), "  after another's", text(late.overtaken))?;
        row("outlived", text(record.outlived), "  of those refused", text(late.refused))?;
        let shut_out = counted(verdict.shut_out.len());
        row("losses reported", text(record.lost), "valid writes refused", shut_out)?;
        let gave_up = text(record.gave_up);
        row("gave up, interrupted", gave_up, "longest stall", format!("{stall:.2?}"))?;
        row("calls failed", text(record.failed), "  allowed", judged(format!("{allowed:.2?}")))?;
        let lies = text(verdict.lies.len());
        if plan.ground == Ground::Etcd {
            row("members killed", text(done.members), "leaders stopped", text(done.leaders))?;
            row("members cut off", text(done.cuts), "calm", calm)?;
            row("", String::new(), "untrue statements", lies)?;
        } else if plan.ground == Ground::Nfs {
            row("hosts frozen", text(done.frozen), "hosts without power", text(done.powered_off))?;
            row("servers killed", text(done.servers), "times answers lost", text(done.losses))?;
            row("calm", calm, "untrue statements", lies)?;
            let gap = format!("{:.1?}", self.longest_stop());
            row("between hosts", text(self.handoffs[1].len()), "clock stood still", gap)?;
            for (host, left, right) in
                [(1, "  median there", "  90 % within"), (0, "on one, median", "  90 % within")]
            {
                let took = |share| format!("{:.1?}", quantile(&self.handoffs[host], share));
                row(left, took(0.5), right, took(0.9))?;
            }
            if let Some(calls) = done.calls {
                let each = calls as f64 / record.holds.len().max(1) as f64;
                let a_second = calls as f64 / self.took.as_secs_f64();
                let (each, a_second) = (format!("{each:.0}"), format!("{a_second:.0}"));
                row("NFS calls a hold", each, "  a second", a_second)?;
            }
        } else {
            row("disks filled", text(done.full), "removed by hand", text(done.removed))?;
            row("permissions taken", text(done.closed), "untrue statements", lies)?;
        }
        if let Some(lost) = self.lost_increments {
            writeln!(f, "\n  increments lost by an unguarded counter: {lost}")?;
        }
        if let (Some(kept), Some(care)) = (self.kept, plan.set) {
            let care = match care {
                Care::None => "written without a look",
                Care::Asks => "written after a look whether the lock is held",
                Care::Tokens => "read and written by number",
            };
            let (promised, lost) = (number(kept.promised), number(kept.lost));
            writeln!(f, "\n  a set, {care}: {promised} elements added, {lost} of them lost")?;
        }
        if let Some((time, holds)) = self.first_overlap {
            let holds = number(holds);
            writeln!(f, "\n  two held at once after {time:.1?} and {holds} acquisitions")?;
        }
        match self.conclusion() {
            Conclusion::Kept => write!(f, "\nAll promises were kept."),
            Conclusion::Broken(promise, how) => {
                write!(f, "\nBROKEN: \"{promise}\"\n  {how}")?;
                self.evidence.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            Conclusion::Invalid(why) => write!(f, "\nNOT VALID: {why}."),
        }
    }
}
