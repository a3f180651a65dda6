//! The torture: many real processes, one lock, faults by dice, and the judge at the end.
//!
//! [`Plan`] says what is done, [`run`] does it, [`Report`] tells how it went. The workers
//! ([`worker`]) tell their histories into one pipe, so nothing that was told is lost with the one
//! who told it; [`crew`](self) gives birth to them, [`faults`] is what happens to them in a folder,
//! [`cluster`](self) what happens on etcd, [`hosts`] what happens between two hosts on NFS.

mod calm;
mod cluster;
pub mod contender;
pub mod faults;
pub mod hosts;
mod plan;
mod refusal;
pub mod report;
mod round;
pub mod set;
mod store_client;
mod torment;
pub mod worker;
mod worker_pool;
mod worker_process;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use lockbydir_protocol::promise;

pub use self::{
    calm::Calm,
    plan::{Ground, LEAST_RATE, Plan},
};
use self::{
    cluster::ClusterTormentor, contender::Outcome, faults::Tormentor, hosts::HostsTormentor,
    report::Report, torment::Torment, worker::LockUnderTest, worker_pool::WorkerPool,
};
use crate::clock;

/// How fine the torturer looks.
const TICK: Duration = Duration::from_millis(2);
/// How often it looks whether a promise is broken already, where one waits for that.
const LOOK: Duration = Duration::from_secs(1);
/// The lock's name.
const NAME: &str = "contended";
/// The set's file.
const SET: &str = "set";

/// A folder of the run's own, which the workers may use.
fn folder(parent: &Path, plan: &Plan) -> Outcome<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("lockbydir-torture-").tempdir_in(parent)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
    if let Some(user) = plan.user() {
        chown(folder.path(), Some(user), Some(user))?;
    }
    Ok(folder)
}

/// Tortures.
///
/// # Errors
/// When it cannot be done, which says nothing about the lock.
pub fn run(plan: &Plan) -> Outcome<Report> {
    // What must not be hit by the faults lies elsewhere: the store, a counter, a set.
    let desk = folder(Path::new("/dev/shm"), plan)?;
    match plan.ground {
        Ground::Folder => {
            let place = folder(&plan.dir, plan)?;
            let mut tormentor = Tormentor::new(plan, place.path().to_owned())?;
            torture(plan, desk.path(), place.path().join(NAME), &mut tormentor)
        }
        Ground::Nfs => {
            let lab = match &plan.lab {
                Some(lab) => Arc::clone(lab),
                None => hosts::lab(plan)?,
            };
            let plan = &Plan { lab: Some(Arc::clone(&lab)), ..plan.clone() };
            let mut tormentor = HostsTormentor::start(plan, &lab)?;
            let name = Path::new(&tormentor.folder).join(NAME);
            torture(plan, desk.path(), name, &mut tormentor)
        }
        // In a thread of its own, for it leaves the machine's network.
        Ground::Etcd => thread::scope(|scope| {
            let on_etcd = || torture_on_etcd(plan, desk.path()).map_err(|error| error.to_string());
            let report = scope.spawn(on_etcd).join();
            Ok(report.unwrap_or_else(|panic| resume_unwind(panic))?)
        }),
    }
}

fn torture_on_etcd(plan: &Plan, desk: &Path) -> Outcome<Report> {
    let mut tormentor = ClusterTormentor::start(plan)?;
    let name = tormentor.cluster.url(NAME).into();
    torture(plan, desk, name, &mut tormentor)
}

/// The lock of this name, with the tormentor for its place.
fn torture(
    plan: &Plan,
    desk: &Path,
    name: PathBuf,
    tormentor: &mut dyn Torment,
) -> Outcome<Report> {
    if plan.counting {
        fs::write(desk.join("counter"), "0\n")?;
    }
    let begun = Instant::now();
    let begun_at = clock::now();
    let mut crew = WorkerPool::start(plan, plan.orders(name, desk))?;
    let mut looked = Instant::now();
    while !plan.over.load(Ordering::Relaxed)
        && !plan.is_done(begun.elapsed(), &crew.told, tormentor.done())
    {
        // Not to synchronise: how finely this loop looks.
        thread::sleep(TICK);
        tormentor.torment(&mut crew)?;
        crew.tend()?;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if let Some(tell) = plan.progress {
                tell(begun.elapsed(), crew.told.holds.load(Ordering::Relaxed));
            }
            if plan.until_broken && plan.judge(&crew.told.record()).broken().is_some() {
                break;
            }
        }
    }
    tormentor.relieve(&mut crew)?;
    let took = begun.elapsed();
    let last = crew.last()?;
    let told = crew.end()?;
    let record = told.record();
    let verdict = plan.judge(&record);
    tormentor.conclude();
    let done = tormentor.done().clone();
    let mut report = Report::new(plan, &told, record, verdict, done, took, begun_at);
    if plan.counting {
        let counter = fs::read_to_string(desk.join("counter")).unwrap_or_default();
        report.count(&counter);
    }
    if let Some(care) = plan.set {
        report.compare(care, &fs::read_to_string(desk.join(SET)).unwrap_or_default());
    }
    if plan.contestant == LockUnderTest::Lockbydir && !plan.alone {
        if let Err(why) = last.acquire(plan)? {
            report.breaks(promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN, why);
        }
        for name in tormentor.bystanders_gone()? {
            let why = format!("{name} was removed");
            report.breaks(promise::NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, why);
        }
        for name in tormentor.left_behind()? {
            let why = format!("{name} was left behind");
            report.breaks(promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN, why);
        }
    }
    Ok(report)
}
