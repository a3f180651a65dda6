//! What is done to the workers and to the place where they lock, by dice.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{
    Plan,
    contender::Outcome,
    torment::{Done, Torment},
    worker_pool::WorkerPool,
};
use crate::{chance::Dice, clock};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP of 0.1 to 5 timeouts.
    Stop,
    /// Wall clocks an hour off either way.
    Clock,
    /// Other boot clocks, in time namespaces.
    Namespace,
    /// PID namespaces of their own, where nobody outside sees them die.
    Pids,
    /// No room on the disk.
    Full,
    /// The lock directory, or the line, removed by hand.
    Remove,
    /// Permission taken from the lock directory, or from its folder.
    Permission,
    /// A member of a cluster killed, and started again.
    Member,
    /// The leader of a cluster stopped.
    Leader,
    /// A member of a cluster cut off from all others.
    Cut,
    /// A whole host stopped, while its clocks go on.
    Freeze,
    /// A host without power, in the middle of a hold; then booted again.
    Power,
    /// The file server without power; then booted again.
    Server,
    /// One in twenty of what the file server sends is lost.
    Replies,
}

impl Fault {
    /// All of them that happen to a folder.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Stop,
        Self::Clock,
        Self::Namespace,
        Self::Pids,
        Self::Full,
        Self::Remove,
        Self::Permission,
    ];

    /// All of them that happen to a cluster.
    pub const OF_A_CLUSTER: [Self; 5] =
        [Self::Kill, Self::Stop, Self::Member, Self::Leader, Self::Cut];

    /// All of them that happen to two hosts and their file server.
    pub const OF_HOSTS: [Self; 6] =
        [Self::Kill, Self::Stop, Self::Freeze, Self::Power, Self::Server, Self::Replies];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Clock => "clock",
            Self::Namespace => "namespace",
            Self::Pids => "pids",
            Self::Full => "full",
            Self::Remove => "remove",
            Self::Permission => "permission",
            Self::Member => "member",
            Self::Leader => "leader",
            Self::Cut => "cut",
            Self::Freeze => "freeze",
            Self::Power => "power",
            Self::Server => "server",
            Self::Replies => "replies",
        }
    }

    /// It happens about so often, in milliseconds; clocks and namespaces are a matter of birth.
    const fn every_ms(self) -> u64 {
        match self {
            Self::Kill => 100,
            Self::Stop => 200,
            Self::Full => 1_500,
            Self::Remove => 1_000,
            Self::Permission => 1_500,
            _ => u64::MAX / 4_000,
        }
    }
}

/// What is out of order at the moment, and until when.
struct Hindrance {
    begun: u64,
    until: Instant,
    /// What was made to fill the disk.
    ballast: Vec<PathBuf>,
    /// What may not be entered.
    closed: Option<PathBuf>,
}

/// Who does it.
pub(crate) struct Tormentor<'a> {
    plan: &'a Plan,
    folder: PathBuf,
    dice: Dice,
    next: Vec<(Fault, Instant)>,
    hindrance: Option<Hindrance>,
    /// How often each was done that the histories do not tell.
    done: Done,
}

/// Names that are not the lock's, though they look like it.
const BYSTANDERS: [&str; 2] = ["contended.lockdir.notes", "contended.lockdi"];

impl<'a> Tormentor<'a> {
    pub(crate) fn new(plan: &'a Plan, folder: PathBuf) -> Outcome<Self> {
        for name in BYSTANDERS {
            fs::create_dir(folder.join(name))?;
            fs::write(folder.join(name).join("note"), "not to be touched")?;
        }
        let mut tormentor = Self {
            plan,
            folder,
            dice: Dice::seeded(plan.seed),
            next: Vec::new(),
            hindrance: None,
            done: Done::default(),
        };
        // The first of each kind comes soon.
        for &fault in &plan.faults {
            let rest = tormentor.rest(fault) / 4;
            tormentor.next.push((fault, Instant::now() + rest));
        }
        Ok(tormentor)
    }

    /// How long until the next one of this kind.
    fn rest(&mut self, fault: Fault) -> Duration {
        let most = fault.every_ms() * 2_000;
        let rest = Duration::from_micros(self.dice.below(most.min(1 << 40)));
        // Who locks for long is killed and stopped slowly, who locks briefly fast.
        let poll_interval = match fault {
            Fault::Kill | Fault::Stop => self.plan.timeout.as_secs_f64() / 0.1,
            _ => 1.0,
        };
        rest.mul_f64(poll_interval.clamp(0.25, 4.0))
    }

    /// Does it, if it can: D may be absent just now, and a victim dead.
    fn strike(&mut self, fault: Fault, crew: &mut WorkerPool<'_>) -> Outcome<()> {
        match fault {
            Fault::Kill => {
                if let Some(place) = self.victim(crew) {
                    crew.kill(place);
                }
            }
            Fault::Stop => {
                // Half of them at most at a time: somebody shall be left to overtake them.
                let may_stop = crew.stopped() * 2 < crew.members.len();
                if let Some(place) = self.victim(crew).filter(|_| may_stop) {
                    let timeouts = 0.1 + self.dice.below(4_900) as f64 / 1000.0;
                    crew.stop(place, Instant::now() + self.plan.timeout.mul_f64(timeouts));
                }
            }
            Fault::Remove => self.remove(crew),
            Fault::Full => {
                self.done.full += 1;
                let begun = clock::now();
                let ballast = fill(&self.folder)?;
                self.hinder(begun, ballast, None);
            }
            Fault::Permission => {
                let directory = self.plan.directory(&self.folder);
                let closed = if self.dice.once_in(2) { directory } else { self.folder.clone() };
                let begun = clock::now();
                // D may be absent just now.
                if fs::set_permissions(&closed, Permissions::from_mode(0o000)).is_ok() {
                    self.done.closed += 1;
                    self.hinder(begun, Vec::new(), Some(closed));
                }
            }
            // Clocks are a matter of birth, and of clusters and hosts there is nothing here.
            _ => {}
        }
        Ok(())
    }

    /// Whom it hits: half of the time whoever has the lock or had it a moment ago.
    fn victim(&mut self, crew: &WorkerPool<'_>) -> Option<usize> {
        let holder = crew.told.holder.load(std::sync::atomic::Ordering::Relaxed);
        let random = usize::try_from(self.dice.below(crew.members.len() as u64)).unwrap_or(0);
        let place = if self.dice.once_in(2) { holder } else { random };
        let member = crew.members.get(place)?;
        member.may_be_hit().then_some(place)
    }

    fn remove(&mut self, crew: &WorkerPool<'_>) {
        let directory = self.plan.directory(&self.folder);
        if self.dice.once_in(4) {
            // A line without a name costs order, nothing else.
            let line = directory.with_extension("lockdir.line");
            self.done.removed += usize::from(fs::remove_dir_all(line).is_ok());
            return;
        }
        let from = clock::now();
        let removed = fs::remove_dir_all(directory).is_ok();
        // It may have removed something even if it failed in the end.
        crew.told.note("hand", &format!("removed {from} {}", clock::now()));
        self.done.removed += usize::from(removed);
    }

    fn hinder(&mut self, begun: u64, ballast: Vec<PathBuf>, closed: Option<PathBuf>) {
        let rest = Duration::from_millis(20 + self.dice.below(400));
        self.hindrance = Some(Hindrance { begun, until: Instant::now() + rest, ballast, closed });
    }
}

impl Torment for Tormentor<'_> {
    fn torment(&mut self, crew: &mut WorkerPool<'_>) -> Outcome<()> {
        if self.hindrance.as_ref().is_some_and(|hindrance| hindrance.until <= Instant::now()) {
            self.relieve(crew)?;
        }
        for at in 0..self.next.len() {
            let (fault, due) = self.next[at];
            // One hindrance at a time; the next one waits.
            let must_wait =
                self.hindrance.is_some() && matches!(fault, Fault::Full | Fault::Permission);
            if due <= Instant::now() && !must_wait {
                self.strike(fault, crew)?;
                self.next[at].1 = Instant::now() + self.rest(fault);
            }
        }
        Ok(())
    }

    fn relieve(&mut self, crew: &mut WorkerPool<'_>) -> Outcome<()> {
        let Some(hindrance) = self.hindrance.take() else {
            return Ok(());
        };
        for file in hindrance.ballast {
            fs::remove_file(file)?;
        }
        if let Some(closed) = hindrance.closed {
            // A lock directory may have gone, and another come: it gets what it has anyway.
            let opened = fs::set_permissions(&closed, Permissions::from_mode(0o700));
            if closed == self.folder {
                opened?;
            }
        }
        crew.told.note("hand", &format!("hindered {} {}", hindrance.begun, clock::now()));
        Ok(())
    }

    fn done(&self) -> &Done {
        &self.done
    }

    fn left_behind(&self) -> Outcome<Vec<String>> {
        let directory = self.plan.directory(&self.folder);
        let mut left = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let path = file?.path();
            let is_known = BYSTANDERS.iter().any(|name| path.ends_with(name));
            let may_stay = self.plan.is_fenced() && path == directory;
            if !is_known && !may_stay {
                left.push(path.display().to_string());
            }
        }
        Ok(left)
    }

    fn bystanders_gone(&self) -> Outcome<Vec<String>> {
        let is_gone = |name: &&str| !self.folder.join(name).join("note").exists();
        Ok(BYSTANDERS.into_iter().filter(is_gone).map(str::to_owned).collect())
    }
}

/// The largest file system that is filled.
const LARGEST: u64 = 1 << 30;
/// At most so many files are made to use up what a file system has of them.
const FILES: usize = 20_000;

/// How large the file system is, if it is too large to be filled.
pub(crate) fn too_large(folder: &std::path::Path) -> Outcome<Option<u64>> {
    let system = statvfs(folder)?;
    let size = system.f_blocks.saturating_mul(system.f_frsize);
    Ok((size > LARGEST).then_some(size))
}

/// Takes all room, and all files, of the file system.
fn fill(folder: &std::path::Path) -> Outcome<Vec<PathBuf>> {
    let mut ballast = Vec::new();
    let mut length: u64 = LARGEST;
    while length >= 4096 {
        let path = folder.join(format!("ballast-{}", ballast.len()));
        let Ok(file) = File::create_new(&path) else { break };
        ballast.push(path);
        let mut offset = 0;
        while length >= 4096 {
            if fallocate(&file, FallocateFlags::empty(), offset, length).is_ok() {
                offset += length;
                if offset >= LARGEST {
                    break;
                }
            } else {
                length /= 2;
            }
        }
    }
    while ballast.len() < FILES {
        let path = folder.join(format!("ballast-{}", ballast.len()));
        if File::create_new(&path).is_err() {
            break;
        }
        ballast.push(path);
        if ballast.len().is_multiple_of(1000) {
            thread::yield_now();
        }
    }
    Ok(ballast)
}
