//! What a run does, and when it is over.

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
    NAME, SET,
    faults::Fault,
    set::Care,
    torment::Done,
    worker::{LockUnderTest, Orders},
    worker_pool::Told,
};
use crate::{chance::Dice, clock, history::Record, judge::Verdict};

/// So much longer than it should a run lasts at most for a fault that has put nothing to the test.
const GRACE: Duration = Duration::from_secs(60);

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

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program whose verb `worker` is a worker.
    pub program: PathBuf,
    /// Where the lock is.
    pub ground: Ground,
    /// Where a folder for the run is made; on etcd, its members' data.
    pub dir: PathBuf,
    /// The same folder by other paths: workers take turns at them.
    pub also: Vec<PathBuf>,
    /// The hosts, on NFS.
    pub lab: Option<Arc<Lab>>,
    /// And how they mount.
    pub mount: String,
    /// Which lock.
    pub contestant: LockUnderTest,
    /// How many workers.
    pub processes: usize,
    /// It ends after this time, and a little later if a fault has put nothing to the test by then;
    /// with a number of handoffs it lasts so long at most.
    pub time: Duration,
    /// It ends with so many contended handoffs, once each fault has put something to the test.
    pub handoffs: u64,
    /// Before that a write of one that was stopped for too long is to be refused.
    pub late: bool,
    /// It ends when a promise is broken.
    pub until_broken: bool,
    /// What happens meanwhile.
    pub faults: Vec<Fault>,
    /// How often one happens, on etcd and NFS.
    pub every: Duration,
    /// The lock's timeout.
    pub timeout: Duration,
    /// A hold lasts a random time up to this.
    pub hold: Duration,
    /// Fewer acquisitions a second than this, and the run has shown nothing.
    pub least_rate: u32,
    /// How long it keeps D after a release.
    pub linger: Duration,
    /// How often one looks where nothing tells of a change, if not as usual.
    pub poll_interval: Option<Duration>,
    /// A fenced lock. So it is anyway where clocks are stepped.
    pub fenced: bool,
    /// Each hold increments a counter, unguarded.
    pub counting: bool,
    /// Each hold adds to a set, unguarded, with this care.
    pub set: Option<Care>,
    /// Some waits are short, some are interrupted.
    pub restless: bool,
    /// Everyone has a lock of its own, which excludes nobody: to show that the judge bites.
    pub alone: bool,
    /// Of the dice.
    pub seed: u64,
    /// It is called now and then, with the time passed and the holds so far.
    pub progress: Option<fn(Duration, u64)>,
    /// It ends when this is true.
    pub over: Arc<AtomicBool>,
}

/// The least rate, unless told otherwise.
pub const LEAST_RATE: u32 = 200;

impl Plan {
    /// A calm run of our lock.
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

    /// D is kept for its number: where wall clocks go back, only so do numbers grow.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced || self.has(Fault::Clock)
    }

    /// How far ahead a worker's wall clock may be, in seconds. Who shares no boot clock with the
    /// holder has only the file system's, and takes a minute for slack: that is a condition of the
    /// promise.
    pub(super) fn most_ahead(&self) -> i64 {
        if self.has(Fault::Namespace) { 50 } else { 3600 }
    }

    /// How many are spared all faults: so somebody always waits.
    pub(super) fn spared(&self) -> usize {
        (self.processes / 4).max(2)
    }

    /// The user that the workers are, if they are another than we: root is told of no permission.
    pub(super) fn user(&self) -> Option<u32> {
        const NOBODY: u32 = 65534;
        (self.has(Fault::Permission) && geteuid().is_root()).then_some(NOBODY)
    }

    /// The program's name in a guest.
    pub(super) fn guest_program(&self) -> &str {
        self.program.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The preloaded library.
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

    /// The lock directory in the folder of the run.
    pub(super) fn directory(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{NAME}.lockdir"))
    }

    /// Nobody holds for at most this long while somebody waits: a holder that was stopped or
    /// killed before it could say so expires, another may have to watch it for its whole timeout,
    /// and an emptied directory must be as old as that; then the queue's own bound (docs/protocol.md,
    /// "Who does not come"), with half of the processes stopped; and a second, for the machine may
    /// be busy.
    ///
    /// On etcd one who is gone expires after the timeout, and a new leader lets all leases count
    /// anew; then there are the longest trouble of a member, an election, and the time in which a
    /// client finds that nobody answers any more.
    ///
    /// On NFS all tickets of a host without power may have to be passed over, one after the other,
    /// by those who only look; and a lost answer is sent again after a second or two.
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
        let line = PASS_OVER_AFTER * 2 + Duration::from_millis(20) * processes;
        let stopped = PASS_OVER_AFTER * (processes / 2);
        self.timeout * 3 + line + stopped + Duration::from_secs(1)
    }

    /// Judges what was told. A known-bad lock has no numbers and no queue: it is asked only never to
    /// have two holders.
    pub(super) fn judge(&self, record: &Record) -> Verdict {
        match self.contestant {
            LockUnderTest::Lockbydir => record.judge_within(self.longest_stall()),
            _ => Verdict { overlaps: record.judge().overlaps, ..Verdict::default() },
        }
    }

    /// What was asked for was seen, or cannot be waited for any longer.
    pub(super) fn is_done(&self, ran: Duration, told: &Told, done: &Done) -> bool {
        let (is_enough, most) = match self.handoffs {
            u64::MAX => (ran >= self.time, self.time + GRACE),
            count => (told.contended.load(Ordering::Relaxed) >= count, self.time),
        };
        let has_shown_all = || {
            let record = told.record();
            done.untested(&self.faults, &record).is_none()
                && (!self.late || record.late_writes().refused > 0)
        };
        ran >= most || is_enough && (self.contestant != LockUnderTest::Lockbydir || has_shown_all())
    }

    pub(super) fn orders(&self, name: PathBuf, desk: &Path) -> Orders {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Orders {
            contestant: self.contestant,
            counter: self.counting.then(|| desk.join("counter")),
            set: self.set.map(|care| (desk.join(SET), care)),
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
            ..Orders::new("last", name, desk.join("store"))
        }
    }
}

/// How far the monotonic clock is behind the boot clock: the machine's suspensions.
fn behind() -> u64 {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let monotonic =
        monotonic.tv_sec.cast_unsigned() * 1_000_000_000 + monotonic.tv_nsec.cast_unsigned();
    clock::now().saturating_sub(monotonic)
}
