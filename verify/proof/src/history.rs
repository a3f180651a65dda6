//! Histories: the events that worker processes, and the code that injects faults, record during a run.
//!
//! Every worker writes its own history, line by line, each line in one `write`:
//!
//! | line | meaning |
//! |---|---|
//! | `born NS PID` | a new process |
//! | `start NS DEADLINE TOKEN HOW SINCE STAMP` | written after acquire, called at SINCE, returned at NS; valid until DEADLINE; published after STAMP |
//! | `renew DEADLINE` | a renewal succeeded; now valid until DEADLINE. After expiry too: its success claims that nobody held in between |
//! | `write NS accepted` or `refused` | the answer of the token-checking [`store`](crate::store) at NS |
//! | `end NS` | about to release, at NS |
//! | `released` | that release succeeded. After expiry too; it makes the same claim |
//! | `gave-up NS SINCE` | a wait that began at SINCE ended without the lock |
//! | `lost NS` | a renewal or the release reported before NS that the lock was lost |
//! | `failed WHAT` | a call failed, and may be retried |
//! | `killed NS` | about to be killed, at NS |
//! | `stopped NS` | about to be stopped, at NS |
//! | `outlived` | the deadline passed, and `is_held` reported so |
//! | `lie TEXT` | the library reported something untrue |
//! | `removed FROM TO` | the lock directory was removed by hand between these moments |
//! | `hindered FROM TO` | the disk was full, or permission was taken away |
//! | `fault FROM TO` | a member of a cluster was out of order, or a worker was stopped or killed (then both are that moment) |
//! | `added ELEMENT` | the [set](crate::torture::set) was written with this element in it |
//!
//! All times are [`crate::clock::now`]. HOW is one word. SINCE and STAMP may be left out.

/// One valid hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// The worker that held the lock.
    pub worker: String,
    /// The fencing token.
    pub token: u64,
    /// Valid from this moment on.
    pub start: u64,
    /// Valid until this moment.
    pub end: u64,
    /// How the lock was acquired.
    pub how: String,
    /// The moment at which its wait began.
    pub since: u64,
    /// A moment before it was published.
    pub stamp: u64,
    /// The writes to the store during it, or late.
    pub writes: Vec<Write>,
    /// The moment at which it was known to be lost.
    pub lost: Option<u64>,
}

/// One write to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The moment of the write, in the order in which the store sees writes.
    pub moment: u64,
    /// Whether the store accepted it, or refused it because of a larger number that was written before.
    pub accepted: bool,
    /// Whether the writer's deadline had passed.
    pub late: bool,
}

/// A span of time: a wait, a removal, a hindrance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from: u64,
    /// The last moment.
    pub to: u64,
}

/// The content of all histories of a run.
#[derive(Debug, Default)]
pub struct Record {
    /// All holds, in no particular order.
    pub holds: Vec<Hold>,
    /// Waits of workers that were not stopped meanwhile.
    pub waits: Vec<Span>,
    /// The spans in which the lock directory was removed by hand.
    pub removals: Vec<Span>,
    /// The spans in which nobody could lock, for lack of disk space or permission.
    pub hindrances: Vec<Span>,
    /// The spans in which a cluster or a worker had a fault.
    pub faults: Vec<Span>,
    /// Elements of the set whose writes were reported done.
    pub added: Vec<String>,
    /// The number of workers killed.
    pub killed: usize,
    /// The number of times that a worker was stopped.
    pub stopped: usize,
    /// The number of times that a holder outlived its deadline and knew it.
    pub outlived: usize,
    /// The number of times that a holder learned of its loss.
    pub lost: usize,
    /// The number of waits that ended without the lock.
    pub gave_up: usize,
    /// The number of calls that failed without a loss.
    pub failed: usize,
    /// Untrue statements, and lines that do not belong to a history.
    pub lies: Vec<String>,
}

impl Record {
    /// Adds the history of one worker.
    pub fn add(&mut self, worker: &str, history: &str) {
        let first = self.holds.len();
        let mut open: Option<Hold> = None;
        // The moment at which the release of the open hold began.
        let mut releasing = None;
        let mut death = u64::MAX;
        let mut stops = Vec::new();
        let mut waits = Vec::new();
        // The last line of a killed worker may be cut short: it counts as not written.
        for line in history.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            let number =
                |index: usize| words.get(index).and_then(|word: &&str| word.parse::<u64>().ok());
            match (words[0], number(1), number(2), number(3)) {
                ("start", Some(start), Some(end), Some(token)) => {
                    self.holds.extend(open.take());
                    let since = number(5).unwrap_or(start);
                    open = Some(Hold {
                        worker: worker.to_owned(),
                        token,
                        start,
                        end,
                        how: words.get(4).copied().unwrap_or_default().to_owned(),
                        since,
                        stamp: number(6).unwrap_or(since),
                        ..Hold::default()
                    });
                    releasing = None;
                    waits.push(Span { from: since, to: start });
                }
                ("renew", Some(deadline), ..) if open.is_some() => {
                    if let Some(hold) = &mut open {
                        hold.end = deadline;
                    }
                }
                ("write", Some(moment), ..) if open.is_some() => {
                    if let Some(hold) = &mut open {
                        let accepted = words.get(2) == Some(&"accepted");
                        hold.writes.push(Write { moment, accepted, late: moment > hold.end });
                    }
                }
                ("end", Some(end), ..) if open.is_some() => {
                    if let Some(hold) = &mut open {
                        hold.end = hold.end.min(end);
                        releasing = Some(end);
                    }
                }
                ("released", ..) if releasing.is_some() => {
                    if let (Some(mut hold), Some(end)) = (open.take(), releasing.take()) {
                        hold.end = end;
                        self.holds.push(hold);
                    }
                }
                ("lost", moment, ..) => {
                    self.lost += 1;
                    self.holds.extend(open.take().map(|hold| Hold { lost: moment, ..hold }));
                }
                ("gave-up", Some(to), Some(from), _) => {
                    self.gave_up += 1;
                    waits.push(Span { from, to });
                }
                ("killed", Some(moment), ..) => {
                    self.killed += 1;
                    death = death.min(moment);
                }
                ("stopped", Some(moment), ..) => {
                    self.stopped += 1;
                    stops.push(moment);
                }
                ("born", Some(_), ..) => {}
                ("outlived", ..) => self.outlived += 1,
                ("failed", ..) => self.failed += 1,
                ("removed", Some(from), Some(to), _) => self.removals.push(Span { from, to }),
                ("hindered", Some(from), Some(to), _) => self.hindrances.push(Span { from, to }),
                ("fault", Some(from), Some(to), _) => self.faults.push(Span { from, to }),
                ("added", ..) if words.len() == 2 => self.added.push(words[1].to_owned()),
                _ => self.lies.push(format!("{worker}: {line}")),
            }
        }
        self.holds.extend(open);
        // Every hold of a killed worker ends with the worker.
        for hold in &mut self.holds[first..] {
            hold.end = hold.end.min(death);
        }
        let able = |wait: &Span| !stops.iter().any(|stop| (wait.from..=wait.to).contains(stop));
        self.waits.extend(waits.into_iter().filter(able));
    }
}
