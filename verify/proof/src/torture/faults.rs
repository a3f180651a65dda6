//! Faults of the workers and of the folder where they lock, chosen by dice.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{
    Plan, contender::Outcome, done::Done, fault::Fault, torment::Torment, worker_pool::WorkerPool,
};
use crate::{chance::Dice, clock};

/// A full disk or a missing permission, and when it ends.
struct Hindrance {
    begun: u64,
    until: Instant,
    /// The files that were made to fill the disk.
    ballast: Vec<PathBuf>,
    /// The directory whose permissions were removed.
    closed: Option<PathBuf>,
}

/// Injects the faults.
pub(crate) struct Tormentor<'a> {
    plan: &'a Plan,
    folder: PathBuf,
    dice: Dice,
    next: Vec<(Fault, Instant)>,
    hindrance: Option<Hindrance>,
    /// The counts of those faults that the histories do not contain.
    done: Done,
}

/// Names that do not belong to the lock, though they look like its names.
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
        // The first fault of each kind happens early.
        for &fault in &plan.faults {
            let rest = tormentor.rest(fault) / 4;
            tormentor.next.push((fault, Instant::now() + rest));
        }
        Ok(tormentor)
    }

    /// Returns the time until the next fault of this kind.
    fn rest(&mut self, fault: Fault) -> Duration {
        let most = fault.every_ms() * 2_000;
        let rest = Duration::from_micros(self.dice.below(most.min(1 << 40)));
        // Workers with a long timeout are killed and stopped less often than those with a short one.
        let poll_interval = match fault {
            Fault::Kill | Fault::Stop => self.plan.timeout.as_secs_f64() / 0.1,
            _ => 1.0,
        };
        rest.mul_f64(poll_interval.clamp(0.25, 4.0))
    }

    /// Injects the fault if it can: D may be absent now, and the victim may be dead.
    fn strike(&mut self, fault: Fault, pool: &mut WorkerPool<'_>) -> Outcome<()> {
        match fault {
            Fault::Kill => {
                if let Some(place) = self.victim(pool) {
                    pool.kill(place);
                }
            }
            Fault::Stop => {
                // At most half of the workers are stopped at a time: others must be left to overtake them.
                let may_stop = pool.stopped() * 2 < pool.members.len();
                if let Some(place) = self.victim(pool).filter(|_| may_stop) {
                    let timeouts = 0.1 + self.dice.below(4_900) as f64 / 1000.0;
                    pool.stop(place, Instant::now() + self.plan.timeout.mul_f64(timeouts));
                }
            }
            Fault::Remove => self.remove(pool),
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
                // D may be absent now.
                if fs::set_permissions(&closed, Permissions::from_mode(0o000)).is_ok() {
                    self.done.closed += 1;
                    self.hinder(begun, Vec::new(), Some(closed));
                }
            }
            // Clocks are chosen when a worker starts, and there is no cluster or host here.
            _ => {}
        }
        Ok(())
    }

    /// Chooses a worker: half of the time the holder, or the last holder, otherwise a random one.
    fn victim(&mut self, pool: &WorkerPool<'_>) -> Option<usize> {
        let holder = pool.histories.holder.load(std::sync::atomic::Ordering::Relaxed);
        let random = usize::try_from(self.dice.below(pool.members.len() as u64)).unwrap_or(0);
        let place = if self.dice.once_in(2) { holder } else { random };
        let member = pool.members.get(place)?;
        member.may_be_hit().then_some(place)
    }

    fn remove(&mut self, pool: &WorkerPool<'_>) {
        let directory = self.plan.directory(&self.folder);
        if self.dice.once_in(4) {
            // Losing the queue's name costs only the order of arrival.
            let line = directory.with_extension("lockdir.queue");
            self.done.removed += usize::from(fs::remove_dir_all(line).is_ok());
            return;
        }
        let from = clock::now();
        let removed = fs::remove_dir_all(directory).is_ok();
        // It may have removed something even if it failed in the end.
        pool.histories.note("hand", &format!("removed {from} {}", clock::now()));
        self.done.removed += usize::from(removed);
    }

    fn hinder(&mut self, begun: u64, ballast: Vec<PathBuf>, closed: Option<PathBuf>) {
        let rest = Duration::from_millis(20 + self.dice.below(400));
        self.hindrance = Some(Hindrance { begun, until: Instant::now() + rest, ballast, closed });
    }
}

impl Torment for Tormentor<'_> {
    fn torment(&mut self, pool: &mut WorkerPool<'_>) -> Outcome<()> {
        if self.hindrance.as_ref().is_some_and(|hindrance| hindrance.until <= Instant::now()) {
            self.relieve(pool)?;
        }
        for at in 0..self.next.len() {
            let (fault, due) = self.next[at];
            // Only one hindrance at a time; the next fault of that kind waits.
            let must_wait =
                self.hindrance.is_some() && matches!(fault, Fault::Full | Fault::Permission);
            if due <= Instant::now() && !must_wait {
                self.strike(fault, pool)?;
                self.next[at].1 = Instant::now() + self.rest(fault);
            }
        }
        Ok(())
    }

    fn relieve(&mut self, pool: &mut WorkerPool<'_>) -> Outcome<()> {
        let Some(hindrance) = self.hindrance.take() else {
            return Ok(());
        };
        for file in hindrance.ballast {
            fs::remove_file(file)?;
        }
        if let Some(closed) = hindrance.closed {
            // The lock directory may have been replaced by another: that one already has this mode.
            let opened = fs::set_permissions(&closed, Permissions::from_mode(0o700));
            if closed == self.folder {
                opened?;
            }
        }
        pool.histories.note("hand", &format!("hindered {} {}", hindrance.begun, clock::now()));
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

/// The size of the largest file system that is filled, in bytes: more would take too long.
const LARGEST: u64 = 1 << 30;
/// The largest number of files that are made to use up the inodes of a file system.
const FILES: usize = 20_000;

/// Returns the size of the file system if it is too large to be filled.
pub(crate) fn too_large(folder: &std::path::Path) -> Outcome<Option<u64>> {
    let system = statvfs(folder)?;
    let size = system.f_blocks.saturating_mul(system.f_frsize);
    Ok((size > LARGEST).then_some(size))
}

/// Uses up all space and all inodes of the file system.
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
