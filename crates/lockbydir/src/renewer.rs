//! The renewer: one thread of the process that renews the locks of all guards when they are due,
//! and reports their losses. It starts with the first guard that needs it and ends some time after
//! the last one, so that a loop that acquires and releases a lock starts one thread. A guard that is
//! released before its first renewal costs it nothing.
//!
//! A renewal may hang and a callback may block, so that thread makes neither: it hands them to
//! workers. A worker makes one call after the other and ends when there are none left; while it is
//! stuck in a call, the others get a worker of their own.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::os::fork_local::ForkLocal;
use crate::os::{Errno, clock, syscalls};

/// The longest sleep. The clock that wakes the thread stops during suspend, so a longer sleep could
/// end too late.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// A worker that has been in one call for this long counts as stuck.
const STUCK: Duration = Duration::from_millis(20);
/// The time of a hold for which nothing is to be done.
const NEVER: u64 = u64::MAX;

/// What the renewer must know of a hold. The methods that do something may block.
pub(crate) trait Renewable: Send + Sync {
    /// Returns what is to be done next. Must not block.
    fn next(&self) -> Next;
    /// Returns how long a renewal may take before it counts as not answering, in milliseconds.
    fn grace(&self) -> u64;
    fn renew_in_time(&self);
    fn expire(&self);
    fn report_loss(&self);
    fn give_up_unanswered(&self);
}

/// What the renewer does for a hold, unless something changes before. Times are of the boot clock,
/// in milliseconds.
pub(crate) enum Next {
    Nothing,
    /// Renews the lock at this time.
    Renew(u64),
    /// Reports at this time that the lock has expired.
    Expire(u64),
    /// Reports a loss that is known already.
    Report,
    /// Waits for the answer of the renewal that began at `call`. If it has not answered for some
    /// grace when the lock is over, at `deadline`, this is a loss.
    Answer {
        call: u64,
        deadline: u64,
    },
}

type Work = fn(&dyn Renewable);

static RENEWER: ForkLocal<Renewer> = ForkLocal::new();

#[derive(Default)]
struct Renewer {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

#[derive(Default)]
struct Schedule {
    holds: HashMap<Id, Entry>,
    /// When each hold is looked at next. Boot clock, in milliseconds.
    times: BTreeSet<(u64, Id)>,
    /// When the thread wakes up by itself; it need not be woken for what is later.
    wakes_at: u64,
    is_running: bool,
    /// How many holds have joined so far.
    joined: u64,
    /// For how long the thread has been awake or asleep in turn, without pauses of the process.
    awake: Duration,
    jobs: VecDeque<Job>,
    workers: usize,
    /// When a worker last began a call.
    begun: Option<Instant>,
}

/// The address of a hold, which the schedule keeps alive.
type Id = usize;

struct Entry {
    hold: Arc<dyn Renewable>,
    time: u64,
    /// A job for it waits or is in progress.
    has_job: bool,
    /// The renewal in progress that was seen, and since when on the clock `awake`.
    call: (u64, Duration),
}

struct Job {
    hold: Arc<dyn Renewable>,
    work: Work,
}

fn id(hold: &dyn Renewable) -> Id {
    std::ptr::from_ref(hold).addr()
}

/// Adds a hold to the renewer.
pub(crate) fn join(hold: Arc<dyn Renewable>) -> Result<(), Errno> {
    let renewer = RENEWER.get_or_make(Renewer::default);
    let mut schedule = renewer.schedule();
    if !schedule.is_running {
        syscalls::thread("lockbydir-renew", attend)?;
        (schedule.is_running, schedule.wakes_at) = (true, 0);
    }
    let id = id(&*hold);
    let entry = Entry { hold: hold.clone(), time: NEVER, has_job: false, call: Default::default() };
    schedule.joined += 1;
    schedule.holds.insert(id, entry);
    schedule.times.insert((NEVER, id));
    renewer.look_in_time(schedule, &*hold);
    Ok(())
}

/// Removes a hold that has ended.
pub(crate) fn leave(hold: &dyn Renewable) {
    let Some(renewer) = RENEWER.get() else { return };
    let mut schedule = renewer.schedule();
    let entry = schedule.holds.remove(&id(hold));
    if let Some(entry) = &entry {
        schedule.times.remove(&(entry.time, id(hold)));
    }
    drop(schedule);
    drop(entry);
}

/// Looks at a hold anew, because its deadline has changed or a call for it has ended.
pub(crate) fn reschedule(hold: &dyn Renewable) {
    if let Some(renewer) = RENEWER.get() {
        renewer.look_in_time(renewer.schedule(), hold);
    }
}

impl Renewer {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Schedules the next look at a hold, and wakes the thread if it would come too late.
    fn look_in_time(&self, mut schedule: MutexGuard<'_, Schedule>, hold: &dyn Renewable) {
        let time = match hold.next() {
            Next::Nothing => NEVER,
            Next::Renew(time) | Next::Expire(time) => time,
            Next::Report | Next::Answer { .. } => 0,
        };
        schedule.set_time(id(hold), time);
        if time < schedule.wakes_at {
            schedule.wakes_at = 0;
            drop(schedule);
            self.changed.notify_one();
        }
    }
}

impl Schedule {
    fn set_time(&mut self, id: Id, time: u64) {
        if let Some(entry) = self.holds.get_mut(&id) {
            self.times.remove(&(entry.time, id));
            entry.time = time;
            self.times.insert((time, id));
        }
    }

    /// Looks at a hold whose time has come: makes a job of what is due, and sets the time of the
    /// next look.
    fn look(&mut self, id: Id, now: u64) {
        let awake = self.awake;
        let Some(entry) = self.holds.get_mut(&id) else { return };
        let hold = &entry.hold;
        let (grace, soon) = (hold.grace(), now + (hold.grace() / 4).max(1));
        let work: Work = match hold.next() {
            Next::Nothing => return self.set_time(id, NEVER),
            Next::Renew(time) | Next::Expire(time) if time > now => {
                return self.set_time(id, time);
            }
            Next::Answer { call, deadline } => {
                if entry.call.0 != call {
                    entry.call = (call, awake);
                }
                let waited = millis(awake.saturating_sub(entry.call.1));
                if waited < grace || now < deadline {
                    return self.set_time(id, soon.max(deadline.saturating_sub(grace)));
                }
                |hold| hold.give_up_unanswered()
            }
            // That job has not begun its call yet, or has just ended it.
            _ if entry.has_job => return self.set_time(id, soon),
            Next::Renew(_) => |hold| hold.renew_in_time(),
            Next::Expire(_) => |hold| hold.expire(),
            Next::Report => |hold| hold.report_loss(),
        };
        entry.has_job = true;
        self.jobs.push_back(Job { hold: hold.clone(), work });
        self.set_time(id, soon);
    }

    /// Returns true if a job waits and no worker will soon begin it.
    fn lacks_worker(&self) -> bool {
        let is_stuck = || self.begun.is_none_or(|begun| begun.elapsed() >= STUCK);
        !self.jobs.is_empty() && (self.workers == 0 || is_stuck())
    }

    /// Returns how long the thread sleeps.
    fn pause(&self, now: u64) -> Duration {
        let first = self.times.first().map_or(NEVER, |(time, _)| *time);
        let longest = if self.jobs.is_empty() { LONGEST_SLEEP } else { STUCK };
        Duration::from_millis(first.saturating_sub(now)).min(longest)
    }
}

/// The thread of the renewer.
fn attend() {
    let Some(renewer) = RENEWER.get() else { return };
    let mut schedule = renewer.schedule();
    let mut joined = 0;
    // Holds may come and go during a whole sleep.
    while !(schedule.holds.is_empty() && schedule.jobs.is_empty() && schedule.joined == joined) {
        joined = schedule.joined;
        let now = millis(clock::boot());
        while let Some(&(time, id)) = schedule.times.first().filter(|(time, _)| *time <= now) {
            schedule.look(id, now);
            debug_assert!(schedule.times.first() != Some(&(time, id)));
        }
        if schedule.lacks_worker() {
            schedule.workers += 1;
            schedule.begun = Some(Instant::now());
            if syscalls::thread("lockbydir-call", work).is_err() {
                // Others may then have to wait for this call, which is better than none.
                drop(schedule);
                work();
                schedule = renewer.schedule();
                continue;
            }
        }
        let pause = schedule.pause(now);
        schedule.wakes_at = now.saturating_add(millis(pause));
        let begun = Instant::now();
        schedule =
            renewer.changed.wait_timeout(schedule, pause).unwrap_or_else(PoisonError::into_inner).0;
        schedule.awake += begun.elapsed().min(pause);
    }
    schedule.is_running = false;
}

/// A worker: does the jobs that wait, one after the other.
fn work() {
    let Some(renewer) = RENEWER.get() else { return };
    let mut schedule = renewer.schedule();
    while let Some(Job { hold, work }) = schedule.jobs.pop_front() {
        schedule.begun = Some(Instant::now());
        drop(schedule);
        // A callback that panics has been reported by its panic; the other holds need this worker.
        let _ = catch_unwind(AssertUnwindSafe(|| work(&*hold)));
        schedule = renewer.schedule();
        if let Some(entry) = schedule.holds.get_mut(&id(&*hold)) {
            entry.has_job = false;
        }
        renewer.look_in_time(schedule, &*hold);
        drop(hold);
        schedule = renewer.schedule();
    }
    schedule.workers -= 1;
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
