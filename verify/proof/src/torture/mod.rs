//! The torture: many real processes, one lock, faults chosen by dice, and the judge at the end.
//!
//! [`Plan`] says what a run does, [`run`] does it, [`Report`] shows the result. The workers ([`worker`])
//! write their histories into one pipe, so a history survives its worker; [`worker_pool`](self) starts
//! them, [`faults`](self) injects the faults in a folder, [`cluster`](self) those on etcd, [`hosts`] those
//! between two hosts on NFS.

mod calm;
mod cluster;
pub mod contender;
mod done;
pub mod fault;
mod faults;
mod handoffs;
mod histories;
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
    handoffs::handoffs,
    plan::{Ground, LEAST_RATE, Plan},
};
use self::{
    cluster::ClusterTormentor,
    contender::Outcome,
    faults::Tormentor,
    hosts::HostsTormentor,
    plan::{NAME, SET},
    report::Report,
    torment::Torment,
    worker::LockUnderTest,
    worker_pool::WorkerPool,
};
use crate::clock;

/// The interval of the main loop, in which faults are injected and workers are checked.
const TICK: Duration = Duration::from_millis(2);
/// The interval between checks for a broken promise, in a run that ends with one.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Makes a folder for this run only, which the workers may use.
fn folder(parent: &Path, plan: &Plan) -> Outcome<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("lockbydir-torture-").tempdir_in(parent)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
    if let Some(user) = plan.user() {
        chown(folder.path(), Some(user), Some(user))?;
    }
    Ok(folder)
}

/// Runs the torture.
///
/// # Errors
/// If the run cannot be done, which proves nothing about the lock.
pub fn run(plan: &Plan) -> Outcome<Report> {
    // The store, the counter and the set must not be affected by the faults, so they are elsewhere.
    let records = folder(Path::new("/dev/shm"), plan)?;
    match plan.ground {
        Ground::Folder => {
            let place = folder(&plan.dir, plan)?;
            let mut tormentor = Tormentor::new(plan, place.path().to_owned())?;
            torture(plan, records.path(), place.path().join(NAME), &mut tormentor)
        }
        Ground::Nfs => {
            let lab = match &plan.lab {
                Some(lab) => Arc::clone(lab),
                None => hosts::lab(plan)?,
            };
            let plan = &Plan { lab: Some(Arc::clone(&lab)), ..plan.clone() };
            let mut tormentor = HostsTormentor::start(plan, &lab)?;
            let name = Path::new(&tormentor.folder).join(NAME);
            torture(plan, records.path(), name, &mut tormentor)
        }
        // In a separate thread, because it leaves the machine's network.
        Ground::Etcd => thread::scope(|scope| {
            let on_etcd =
                || torture_on_etcd(plan, records.path()).map_err(|error| error.to_string());
            let report = scope.spawn(on_etcd).join();
            Ok(report.unwrap_or_else(|panic| resume_unwind(panic))?)
        }),
    }
}

fn torture_on_etcd(plan: &Plan, records: &Path) -> Outcome<Report> {
    let mut tormentor = ClusterTormentor::start(plan)?;
    let name = tormentor.cluster.url(NAME).into();
    torture(plan, records, name, &mut tormentor)
}

/// Tortures the lock of this name; `tormentor` injects the faults there.
fn torture(
    plan: &Plan,
    records: &Path,
    name: PathBuf,
    tormentor: &mut dyn Torment,
) -> Outcome<Report> {
    if plan.counting {
        fs::write(records.join("counter"), "0\n")?;
    }
    let begun = Instant::now();
    let begun_at = clock::now();
    let mut pool = WorkerPool::start(plan, plan.orders(name, records))?;
    let mut looked = Instant::now();
    while !plan.over.load(Ordering::Relaxed)
        && !plan.is_done(begun.elapsed(), &pool.histories, tormentor.done())
    {
        // Not to synchronise: the interval of this loop.
        thread::sleep(TICK);
        tormentor.torment(&mut pool)?;
        pool.tend()?;
        if looked.elapsed() >= CHECK_INTERVAL {
            looked = Instant::now();
            if let Some(show) = plan.progress {
                show(begun.elapsed(), pool.histories.holds.load(Ordering::Relaxed));
            }
            if plan.until_broken && plan.judge(&pool.histories.record()).broken().is_some() {
                break;
            }
        }
    }
    tormentor.relieve(&mut pool)?;
    let took = begun.elapsed();
    let last = pool.last()?;
    let histories = pool.end()?;
    let record = histories.record();
    let verdict = plan.judge(&record);
    tormentor.conclude();
    let done = tormentor.done().clone();
    let mut report = Report::new(plan, &histories, record, verdict, done, took, begun_at);
    if plan.counting {
        let counter = fs::read_to_string(records.join("counter")).unwrap_or_default();
        report.count(&counter);
    }
    if let Some(care) = plan.set {
        report.compare(care, &fs::read_to_string(records.join(SET)).unwrap_or_default());
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
