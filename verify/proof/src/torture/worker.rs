//! One worker process: it waits, holds, writes to the store and releases, again and again, and writes
//! its history to its standard output. It ends when its standard input does.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use lockbydir::{Interrupt, Lock};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{
    contender::{Answer, Contender, Hold, Ours, Outcome},
    set::{Care, Set},
    store_client::{END, StoreClient},
};
use crate::{
    chance::Dice,
    clock,
    known_bad::{Deaf, FirstVersion, LookThenPut, Polled, StatUnlink, UtimesLease},
    store::Store,
};

/// Which lock is tortured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LockUnderTest {
    /// This project's.
    Lockbydir,
    /// How lockbydir's first version broke timed-out locks. Known to be bad.
    FirstVersion,
    /// The npm package, in Node. Known to be bad.
    ProperLockfile,
    /// A lock file: stat, unlink if old, `O_EXCL`. Known to be bad.
    StatUnlink,
    /// A lock file renewed by utimes. Known to be bad.
    UtimesLease,
    /// A key on etcd that is looked for, and then put. Known to be bad.
    EtcdLookThenPut,
    /// A key on etcd with a lease, whose holder does not hear that it is gone. Known to be bad.
    EtcdDeaf,
}

impl LockUnderTest {
    /// Whether it can only be tortured on etcd.
    #[must_use]
    pub fn is_on_etcd(self) -> bool {
        matches!(self, Self::EtcdLookThenPut | Self::EtcdDeaf)
    }
}

/// The `/proc` that a worker in a PID namespace of its own sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proc {
    /// The `/proc` of its own namespace.
    Own,
    /// The `/proc` of the torture: there its own PID is another process.
    Outer,
}

/// One hold in `LONG_EVERY` is long: up to `LONG_FACTOR` times as long as the others.
const LONG_EVERY: u64 = 32;
const LONG_FACTOR: u64 = 100;

/// The instructions of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// Its name in the histories.
    pub name: String,
    /// The lock that is tortured.
    pub contestant: LockUnderTest,
    /// The lock's name, as a path.
    pub lock: PathBuf,
    /// The token-checking store.
    pub store: PathBuf,
    /// A counter that each hold increments and that only the lock guards.
    pub counter: Option<PathBuf>,
    /// A set to which each hold adds, and with what care.
    pub set: Option<(PathBuf, Care)>,
    /// The timeout of a hold, in milliseconds.
    pub timeout_ms: u64,
    /// Its patience, in milliseconds.
    pub patience_ms: u64,
    /// The time for which it keeps D after a release, in milliseconds.
    pub linger_ms: u64,
    /// The interval between looks where no event announces a change, in milliseconds; `None` for the default.
    pub pace_ms: Option<u64>,
    /// Whether the lock is fenced.
    pub fenced: bool,
    /// Permissions of the lock directory.
    pub mode: u32,
    /// It ends after this number of milliseconds; if `None`, when its standard input ends.
    pub time_ms: Option<u64>,
    /// A hold lasts a random time up to this, in nanoseconds; a few last much longer.
    pub hold_ns: u64,
    /// Whether it renews half of its holds.
    pub renewing: bool,
    /// Whether some of its waits are short, and some are interrupted.
    pub restless: bool,
    /// Whether it only acquires once and cleans the folder: the proof that the lock is still usable.
    pub last: bool,
    /// The number of seconds that its boot clock is ahead of the torture's.
    pub ahead_s: u64,
    /// The `/proc` that it sees, if it has its own PID namespace.
    pub pids: Option<Proc>,
    /// The number of nanoseconds that the monotonic clock is behind the boot clock: for workers that have
    /// only the former.
    pub behind_ns: u64,
    /// Whether it runs in a guest of a lab: the host has the clock and the store, which it asks by its
    /// standard output.
    pub is_guest: bool,
    /// The seed of its dice.
    pub seed: u64,
}

impl Orders {
    /// Returns the instructions of a worker of our lock that has no special behavior.
    #[must_use]
    pub fn new(name: &str, lock: PathBuf, store: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            contestant: LockUnderTest::Lockbydir,
            lock,
            store,
            counter: None,
            set: None,
            timeout_ms: 30_000,
            patience_ms: 300_000,
            linger_ms: 0,
            pace_ms: None,
            fenced: false,
            mode: 0o700,
            time_ms: None,
            hold_ns: 0,
            renewing: false,
            restless: false,
            last: false,
            ahead_s: 0,
            pids: None,
            behind_ns: 0,
            is_guest: false,
            seed: 0,
        }
    }

    /// The timeout.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Whether the lock's name is a URL.
    fn is_on_etcd(&self) -> bool {
        self.lock.starts_with("etcd:")
    }

    fn contender(&self) -> Outcome<Box<dyn Contender>> {
        let timeout = self.timeout();
        let file = self.lock.with_extension("lock");
        let stat_unlink = StatUnlink { file, timeout };
        Ok(match self.contestant {
            LockUnderTest::Lockbydir => {
                let linger = Duration::from_millis(self.linger_ms);
                let lock = Lock::new(&self.lock).timeout(timeout).linger(linger);
                let lock = lock.fenced(self.fenced);
                let poll_interval = self.pace_ms.map(Duration::from_millis);
                let lock = poll_interval
                    .map_or(lock.clone(), |poll_interval| lock.poll_interval(poll_interval));
                let lock = if self.is_on_etcd() { lock } else { lock.mode(self.mode) };
                Box::new(Ours { lock, timeout })
            }
            LockUnderTest::EtcdLookThenPut => {
                Box::new(Polled::new(LookThenPut::new(&self.lock, timeout)?, timeout))
            }
            LockUnderTest::EtcdDeaf => {
                Box::new(Polled::new(Deaf::new(&self.lock, timeout)?, timeout))
            }
            LockUnderTest::FirstVersion => {
                let directory = self.lock.with_extension("lockdir");
                Box::new(Polled::new(FirstVersion { directory, timeout }, timeout))
            }
            LockUnderTest::StatUnlink => Box::new(Polled::new(stat_unlink, timeout)),
            LockUnderTest::UtimesLease => Box::new(Polled::new(UtimesLease(stat_unlink), timeout)),
            LockUnderTest::ProperLockfile => {
                return Err(
                    "proper-lockfile's workers are Node's: verify/rivals/workers/torture.js".into(),
                );
            }
        })
    }
}

/// Writes the history of a worker: each line is one write into a pipe that all workers share, short
/// enough to be atomic.
struct HistoryWriter {
    name: String,
    ahead: u64,
    pipe: File,
}

impl HistoryWriter {
    fn write(&self, line: &str) {
        let line = format!("{} {line}\n", self.name);
        // Nobody reads the pipe any more: the run is over.
        if (&self.pipe).write_all(line.as_bytes()).is_err() {
            std::process::exit(0);
        }
    }

    /// Converts a moment to the torture's clock.
    fn at(&self, moment: u64) -> u64 {
        moment.saturating_sub(self.ahead)
    }

    fn now(&self) -> u64 {
        self.at(clock::now())
    }
}

/// Returns a hold's deadline: one value not later than the true one, and one, by our own clock, not
/// earlier. The former is `None` when no time remains: a process that was stopped inside the call
/// cannot know when its hold ended.
fn deadline(hold: &dyn Hold) -> (Option<u64>, u64) {
    let before = clock::now();
    let remaining = u64::try_from(hold.remaining().as_nanos()).unwrap_or(u64::MAX / 2);
    let earliest = (remaining > 0).then_some(before + remaining);
    (earliest, clock::own() + remaining)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn increment(counter: &Path) -> io::Result<()> {
    // If another process writes at the same time it may be found empty: the sum shows that loss.
    let number: u64 = fs::read_to_string(counter)?.trim().parse().unwrap_or(0);
    thread::yield_now();
    fs::write(counter, format!("{}\n", number + 1))
}

/// Works until its standard input ends.
///
/// # Errors
/// If it cannot start, or the last acquisition fails.
pub fn work(orders: &Orders) -> Outcome<()> {
    // The lock itself is tortured, also on mounts on which it would refuse to start.
    lockbydir::simulated::take_mounts_as_known(true);
    if orders.is_guest {
        clock::share()?;
    }
    if orders.is_on_etcd() {
        lockbydir_etcd::register(lockbydir_etcd::Access::default());
    }
    if orders.last {
        return finish(orders);
    }
    // A stopped worker must not outlive the torture either.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let over = Arc::new(AtomicBool::new(false));
    let interrupt = Interrupt::new();
    let (answer, answers) = mpsc::channel();
    thread::spawn({
        let (over, interrupt) = (Arc::clone(&over), interrupt.clone());
        let time = orders.time_ms.map(Duration::from_millis);
        move || {
            let end = || {
                over.store(true, Ordering::SeqCst);
                interrupt.raise();
            };
            match time {
                // Not to synchronise: this is how long it works.
                Some(time) => thread::sleep(time),
                None => {
                    for line in io::stdin().lines().map_while(Result::ok) {
                        match line.as_str() {
                            // The store's last answer may arrive after it.
                            END => end(),
                            _ => drop(answer.send(line)),
                        }
                    }
                }
            }
            end();
        }
    });
    let mut worker = Worker {
        history: HistoryWriter {
            name: orders.name.clone(),
            ahead: orders.ahead_s * 1_000_000_000,
            pipe: File::from(io::stdout().as_fd().try_clone_to_owned()?),
        },
        contender: orders.contender()?,
        store: match orders.is_guest {
            true => StoreClient::Host(answers),
            false => StoreClient::Local(Store::open(&orders.store)?),
        },
        set: match &orders.set {
            Some((file, care)) => Some((Set::open(file, *care, &orders.name)?, *care)),
            None => None,
        },
        added: 0,
        dice: Dice::seeded(orders.seed),
        interrupt,
        orders,
    };
    while !over.load(Ordering::SeqCst) {
        worker.turn(&over)?;
    }
    Ok(())
}

struct Worker<'a> {
    orders: &'a Orders,
    history: HistoryWriter,
    contender: Box<dyn Contender>,
    store: StoreClient,
    set: Option<(Set, Care)>,
    /// The number of elements so far.
    added: u64,
    dice: Dice,
    interrupt: Interrupt,
}

impl Worker<'_> {
    /// Waits once, and holds if the wait succeeds.
    fn turn(&mut self, over: &AtomicBool) -> Outcome<()> {
        let mut patience = Duration::from_millis(self.orders.patience_ms);
        if self.orders.restless && self.dice.once_in(8) {
            patience = self.orders.timeout().mul_f64(self.dice.below(1000) as f64 / 250.0);
        }
        if self.orders.restless && self.dice.once_in(8) {
            let moment = Duration::from_micros(self.dice.below(30_000));
            let interrupt = self.interrupt.clone();
            thread::spawn(move || {
                // Not to synchronise: the wait is interrupted at a random moment.
                thread::sleep(moment);
                interrupt.raise();
            });
        }
        let since = self.history.now();
        let got = self.contender.acquire(patience, &self.interrupt);
        self.interrupt.lower();
        if over.load(Ordering::SeqCst) {
            self.interrupt.raise();
        }
        match got {
            Ok(Some(hold)) => self.hold(since, hold)?,
            Ok(None) => self.history.write(&format!("gave-up {} {since}", self.history.now())),
            Err(error) => {
                self.failed("acquire", &error.to_string());
                // Not to synchronise: a call that fails at once is not repeated in a busy loop.
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Writes the set back with one more element.
    fn add(&mut self, hold: &dyn Hold, mut all: String) -> Outcome<()> {
        let Some((set, care)) = &self.set else { return Ok(()) };
        self.added += 1;
        let element = format!("{}-{}", self.orders.name, self.added);
        all.push_str(&element);
        all.push('\n');
        let may_write = *care != Care::Asks || !hold.remaining().is_zero();
        if may_write && set.write(hold.token(), &all)?.is_some() {
            self.history.write(&format!("added {element}"));
        }
        Ok(())
    }

    fn failed(&self, verb: &str, why: &str) {
        self.history.write(&format!("failed {verb}: {}", why.replace('\n', " ")));
    }

    fn hold(&mut self, since: u64, mut hold: Box<dyn Hold>) -> Outcome<()> {
        let start = clock::now();
        let (earliest, latest) = deadline(&*hold);
        let lasts = nanos(hold.lasts());
        let stamp = earliest.map_or(since, |end| self.history.at(end.saturating_sub(lasts)));
        self.history.write(&format!(
            "start {} {} {} {} {since} {}",
            self.history.at(start),
            self.history.at(earliest.unwrap_or(start)),
            hold.token(),
            hold.how(),
            stamp.max(since),
        ));
        if let Some(counter) = &self.orders.counter {
            increment(counter)?;
        }
        let all = match &self.set {
            Some((set, _)) => set.read(hold.token())?,
            None => None,
        };
        if self.dice.once_in(LONG_EVERY) {
            // Not to synchronise: one of the holds in which a fault is likely to happen.
            thread::sleep(Duration::from_nanos(self.dice.below(self.orders.hold_ns * LONG_FACTOR)));
        } else {
            clock::spin_until(start + self.dice.below(self.orders.hold_ns));
        }

        if let Some(all) = all {
            self.add(&*hold, all)?;
        }
        let asked = clock::own();
        let held = !hold.remaining().is_zero();
        if asked > latest && held {
            self.history.write("lie is_held after the deadline");
        } else if !held && clock::own() > latest {
            self.history.write("outlived");
        }
        // It deliberately does not check whether it is late: the store has to detect that.
        let answer = self.store.write(hold.token(), |line| self.history.write(line))?;
        let word = if answer.accepted { "accepted" } else { "refused" };
        self.history.write(&format!("write {} {word}", self.history.at(answer.moment)));

        // Sometimes the renewal learns of a loss, sometimes the release.
        if self.orders.renewing && self.dice.once_in(2) {
            match hold.renew() {
                Answer::Done => {
                    if let (Some(earliest), _) = deadline(&*hold) {
                        self.history.write(&format!("renew {}", self.history.at(earliest)));
                    }
                }
                Answer::Lost => {
                    self.history.write(&format!("lost {}", self.history.now()));
                    if !hold.remaining().is_zero() {
                        self.history.write("lie is_held after a loss");
                    }
                    return Ok(());
                }
                Answer::Failed(why) => self.failed("renew", &why),
                Answer::Unable => {}
            }
        }
        self.history.write(&format!("end {}", self.history.now()));
        match hold.release() {
            Answer::Done | Answer::Unable => self.history.write("released"),
            Answer::Lost => self.history.write(&format!("lost {}", self.history.now())),
            Answer::Failed(why) => self.failed("release", &why),
        }
        Ok(())
    }
}

/// Checks that the lock can be acquired and the folder cleaned, whatever dead workers left.
fn finish(orders: &Orders) -> Outcome<()> {
    let interrupt = Interrupt::new();
    let patience = Duration::from_millis(orders.patience_ms);
    let hold = orders.contender()?.acquire(patience, &interrupt)?;
    match hold.ok_or("the lock could not be had")?.release() {
        Answer::Done => {}
        other => return Err(format!("its release said {other:?}").into()),
    }
    let folder = orders.lock.parent().ok_or("a lock without a folder")?;
    if orders.is_on_etcd() {
        lockbydir::clean(folder)?;
        return Ok(());
    }
    clean(folder)?;
    Ok(())
}

/// Removes what crashes left beside locks. A stage that its process had no time to put an entry into does
/// not show whose it is, so that only its age permits its removal, as for a doctor's folder: it is made a
/// day old.
fn clean(folder: &Path) -> Outcome<()> {
    for file in fs::read_dir(folder)? {
        let stage = file?.path();
        let name = stage.file_name().unwrap_or_default().to_string_lossy();
        let is_empty_stage = || name.contains(".lockdir.") && is_empty(&stage);
        if name.starts_with("lockbydir-doctor.") || is_empty_stage() {
            let past = std::time::SystemTime::now() - Duration::from_secs(24 * 3600);
            File::open(&stage)?.set_modified(past)?;
        }
    }
    lockbydir::clean(folder)?;
    Ok(())
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut names| names.next().is_none())
}
