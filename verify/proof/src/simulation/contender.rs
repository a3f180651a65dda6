//! A simulated process: a thread that the library takes for its own process, on its own machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lockbydir::simulated::{Call, World, within};
use lockbydir_protocol::{Now, Origin, Process};
use rustix::io::Errno;

use super::actor::act;
use super::handles::Holding;
use super::machines::{boot, booted};
use super::mutant::Mutant;
use super::oracle::EVERY_CALL_ENDS;
use super::plot::SimulatedProcess;
use super::scheduler::{Died, Scheduler, WALL};

/// The world as the library sees it in this process.
struct View {
    scheduler: Arc<Scheduler>,
    me: usize,
    host: u64,
    /// How far its wall clock is behind.
    behind: Duration,
    /// Its guard, which is asked at every call.
    guard: Rc<Holding>,
}

const FIRST_PID: u32 = 1000;

impl World for View {
    fn call(
        &self,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        // What it reports to its user during a verb must be as true as what it reported before.
        let guard = self.guard.borrow().upgrade();
        if let Some(rest) = guard.map(|guard| guard.remaining()) {
            self.scheduler.state().has_left(self.me, rest);
        }
        self.scheduler.call(self.me, call, perform)
    }

    fn is_hidden(&self) -> bool {
        self.scheduler.is_hidden(self.me)
    }

    fn sleep(&self, until: Duration, is_woken: &mut dyn FnMut() -> bool) {
        self.scheduler.sleep(self.me, until.saturating_add(booted(self.host)), is_woken);
    }

    fn now(&self) -> Now {
        let now = self.scheduler.state().now;
        Now { boot: now - booted(self.host), wall: now + WALL - self.behind }
    }

    fn nonce(&self) -> u128 {
        self.scheduler.nonce(self.me)
    }

    fn is_local(&self) -> bool {
        self.scheduler.is_local
    }

    fn here(&self) -> (Origin, Process) {
        // The first namespaces of a kernel have these numbers everywhere.
        let origin = Origin { boot: boot(self.host), time: 0xEFFF_FFFA, pids: 0xEFFF_FFFC };
        (origin, Process { pid: FIRST_PID + self.me as u32, start: 1 })
    }

    fn host(&self) -> String {
        format!("host{}", self.host)
    }

    fn is_gone(&self, process: Process) -> bool {
        self.scheduler.is_gone(process.pid.saturating_sub(FIRST_PID) as usize)
    }
}

/// Runs a process to its end.
pub(super) fn run(scheduler: &Arc<Scheduler>, me: usize, part: &SimulatedProcess) {
    scheduler.enter(me);
    let behind = match part.mutant {
        Some(Mutant::SetsItsClockBack) => Duration::from_secs(3600),
        _ => Duration::ZERO,
    };
    let guard = Rc::new(Holding::default());
    let asked = guard.clone();
    let world =
        Rc::new(View { scheduler: scheduler.clone(), me, host: part.host, behind, guard: asked });
    let acted =
        catch_unwind(AssertUnwindSafe(|| within(world, || act(scheduler, me, part, &guard))));
    if let Err(payload) = acted
        && !payload.is::<Died>()
    {
        let what = payload.downcast_ref::<String>().cloned();
        let what = what.or_else(|| payload.downcast_ref::<&str>().map(|what| (*what).into()));
        let seen = format!("contender {me} panicked: {}", what.unwrap_or_default());
        scheduler.state().oracle.broke(EVERY_CALL_ENDS, seen);
    }
    scheduler.leave(me);
}

/// Makes the paths to the lock's folder, one for each process.
pub(super) fn make_ways(folder: &Path, count: usize) -> std::io::Result<()> {
    (0..count).try_for_each(|way| std::os::unix::fs::symlink(".", folder.join(format!("way{way}"))))
}
