//! The plan of a run: its actions, and when it ends.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lockbydir_nfs_lab::Lab;
use lockbydir_protocol::{MIN_TIMEOUT, PASS_OVER_AFTER};
use rustix::{
    process::geteuid,
    time::{ClockId, clock_gettime},
};

use super::{
    done::Done,
    fault::Fault,
    histories::Histories,
    set::Care,
    worker::{LockUnderTest, Orders},
};
use crate::{chance::Dice, clock, history::Record, judge::Verdict};

/// How much longer than planned a run lasts at most, if one of its faults has not tested anything yet.
const GRACE: Duration = Duration::from_secs(60);

/// The lock's name.
pub(super) const NAME: &str = "contended";
/// The file name of the set.
pub(super) const SET: &str = "set";

/// Where the lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// In a folder.
    Folder,
    /// On three members of etcd, made for the run.
    Etcd,
    /// In a folder of an NFS server, between two hosts.
    Nfs,
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program whose subcommand `worker` is a worker.
    pub program: PathBuf,
    /// Where the lock is.
    pub ground: Ground,
    /// The folder in which a folder for the run is made; on etcd, for the members' data.
    pub dir: PathBuf,
    /// Other paths of the same folder: workers use them in turn.
    pub also: Vec<PathBuf>,
    /// The hosts, on NFS.
    pub lab: Option<Arc<Lab>>,
    /// The options with which they mount.
    pub mount: String,
    /// The lock that is tortured.
    pub contestant: LockUnderTest,
    /// The number of workers.
    pub processes: usize,
    /// The run ends after this time, and a little later if a fault has tested nothing by then; with a number
    /// of handoffs it is the longest time.
    pub time: Duration,
    /// The run ends with this number of contended handoffs, once each fault has tested something.
    pub handoffs: u64,
    /// Whether, before that, the store must refuse a write of a worker that was stopped for too long.
    pub late: bool,
    /// Whether the run ends when a promise is broken.
    pub until_broken: bool,
    /// The faults that are injected.
    pub faults: Vec<Fault>,
    /// The interval between two faults, on etcd and NFS.
    pub every: Duration,
    /// The lock's timeout.
    pub timeout: Duration,
    /// A hold lasts a random time up to this.
    pub hold: Duration,
    /// The least number of acquisitions per second: with fewer the run proves nothing.
    pub least_rate: u32,
    /// The time for which a worker keeps D after a release.
    pub linger: Duration,
    /// The interval between looks where no event announces a change; `None` for the default.
    pub poll_interval: Option<Duration>,
    /// Whether the lock is fenced. It always is where clocks are stepped.
    pub fenced: bool,
    /// Whether each hold increments a counter that only the lock guards.
    pub counting: bool,
    /// With what care each hold adds to a set that only the lock guards, if there is one.
    pub set: Option<Care>,
    /// Whether some waits are short and some are interrupted.
    pub restless: bool,
    /// Whether every worker has its own lock, which excludes nobody: to show that the judge finds faults.
    pub alone: bool,
    /// The seed of the dice.
    pub seed: u64,
    /// A function that is called from time to time, with the time passed and the holds so far.
    pub progress: Option<fn(Duration, u64)>,
    /// The run ends when this is true.
    pub over: Arc<AtomicBool>,
}

/// The default of [`Plan::least_rate`], in acquisitions per second.
pub const LEAST_RATE: u32 = 200;

impl Plan {
    /// Returns a run of our lock without faults.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            ground: Ground::Folder,
            dir: dir.into(),
            also: Vec::new(),
            lab: None,
            mount: String::new(),
            contestant: LockUnderTest::Lockbydir,
            processes: 16,
            time: Duration::from_secs(10),
            handoffs: u64::MAX,
            late: false,
            until_broken: false,
            faults: Vec::new(),
            every: Duration::from_secs(5),
            timeout: MIN_TIMEOUT,
            hold: Duration::from_micros(200),
            least_rate: LEAST_RATE,
            linger: Duration::ZERO,
            poll_interval: None,
            fenced: false,
            counting: false,
            set: None,
            restless: true,
            alone: false,
            seed: Dice::default().below(u64::MAX),
            progress: None,
            over: Arc::default(),
        }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Whether D is kept for its number: where wall clocks are set back, numbers grow only so.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced || self.has(Fault::Clock)
    }

    /// Returns how far ahead a worker's wall clock may be, in seconds. A process that shares no boot clock
    /// with the holder has only the file system's clock, and tolerates a difference of a minute: that is a
    /// condition of the promise.
    pub(super) fn most_ahead(&self) -> i64 {
        if self.has(Fault::Namespace) { 50 } else { 3600 }
    }

    /// Returns how many workers no fault affects: so somebody always waits.
    pub(super) fn spared(&self) -> usize {
        (self.processes / 4).max(2)
    }

    /// Returns the user of the workers, if it is not our own: no missing permission stops root.
    pub(super) fn user(&self) -> Option<u32> {
        const NOBODY: u32 = 65534;
        (self.has(Fault::Permission) && geteuid().is_root()).then_some(NOBODY)
    }

    /// Returns the program's name in a guest.
    pub(super) fn guest_program(&self) -> &str {
        self.program.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Returns the path of the preloaded library.
    pub(super) fn stepped_clock(&self) -> PathBuf {
        self.program.with_file_name("examples").join("libstepped_clock.so")
    }

    pub(super) fn node_worker(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../rivals/workers/torture.js")
    }

    pub(super) fn node_modules(&self) -> PathBuf {
        let installed = "../rivals/.installed/node/node_modules";
        std::env::var_os("RIVALS_NODE_MODULES")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(installed), PathBuf::from)
    }

    /// Returns the path of the lock directory in the folder of the run.
    pub(super) fn directory(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{NAME}.lockdir"))
    }

    /// Returns the longest time for which the lock may be free while somebody waits: a holder that was
    /// stopped or killed before it could write its entry expires, another may have to watch it for its whole
    /// timeout, and an emptied directory must be as old as that; then the queue's own bound
    /// (docs/protocol.md, "Who does not come"), with half of the processes stopped; and a second, because the
    /// machine may be busy.
    ///
    /// On etcd a dead holder expires after the timeout, and a new leader restarts all leases; then there are
    /// the longest fault of a member, an election, and the time in which a client notices that its member
    /// no longer answers.
    ///
    /// On NFS all tickets of a host without power may have to be passed over, one after the other, by waiters
    /// that only poll; and a lost reply is requested again after a second or two.
    #[must_use]
    pub fn longest_stall(&self) -> Duration {
        if self.ground == Ground::Etcd {
            return self.timeout * 3 + Duration::from_secs(9);
        }
        if self.ground == Ground::Nfs {
            let processes = u32::try_from(self.processes).unwrap_or(u32::MAX);
            return self.timeout * 3 + PASS_OVER_AFTER * 4 * processes + Duration::from_secs(3);
        }
        let processes = u32::try_from(self.processes).unwrap_or(u32::MAX);
        let queue = PASS_OVER_AFTER * 2 + Duration::from_millis(20) * processes;
        let stopped = PASS_OVER_AFTER * (processes / 2);
        self.timeout * 3 + queue + stopped + Duration::from_secs(1)
    }

    /// Judges a record. A known-bad lock has no numbers and no queue: it is required only never to have two
    /// holders.
    pub(super) fn judge(&self, record: &Record) -> Verdict {
        match self.contestant {
            LockUnderTest::Lockbydir => record.judge_within(self.longest_stall()),
            _ => Verdict { overlaps: record.judge().overlaps, ..Verdict::default() },
        }
    }

    /// Whether the run has shown what it must, or cannot wait for it any longer.
    pub(super) fn is_done(&self, ran: Duration, histories: &Histories, done: &Done) -> bool {
        let (is_enough, most) = match self.handoffs {
            u64::MAX => (ran >= self.time, self.time + GRACE),
            count => (histories.contended.load(Ordering::Relaxed) >= count, self.time),
        };
        let has_shown_all = || {
            let record = histories.record();
            done.untested(&self.faults, &record).is_none()
                && (!self.late || record.late_writes().refused > 0)
        };
        ran >= most || is_enough && (self.contestant != LockUnderTest::Lockbydir || has_shown_all())
    }

    pub(super) fn orders(&self, name: PathBuf, records: &Path) -> Orders {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Orders {
            contestant: self.contestant,
            counter: self.counting.then(|| records.join("counter")),
            set: self.set.map(|care| (records.join(SET), care)),
            timeout_ms: millis(self.timeout),
            linger_ms: millis(self.linger),
            pace_ms: self.poll_interval.map(millis),
            fenced: self.is_fenced(),
            hold_ns: u64::try_from(self.hold.as_nanos()).unwrap_or(u64::MAX),
            is_guest: self.ground == Ground::Nfs,
            renewing: !self.counting,
            restless: self.restless,
            behind_ns: behind(),
            seed: self.seed,
            ..Orders::new("last", name, records.join("store"))
        }
    }
}

/// Returns how far the monotonic clock is behind the boot clock: the machine's suspensions.
fn behind() -> u64 {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let monotonic =
        monotonic.tv_sec.cast_unsigned() * 1_000_000_000 + monotonic.tv_nsec.cast_unsigned();
    clock::now().saturating_sub(monotonic)
}
