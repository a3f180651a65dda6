//! Which processes live, and the identity of this one: processes, their start times, boot and
//! namespaces, from a test's world or from the system. Decides nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockbydir_protocol::{Liveness, Origin, Owner, Process, Stamp};

use crate::os;
use crate::os::fork_local::ForkLocal;
use crate::os::simulated::Kind;
use crate::os::{clock, simulated};

pub(crate) use crate::os::command;

/// Returns this process as the protocol identifies it. A forked child gets its own identity, and so
/// does a process that was checkpointed and restored under another boot.
pub(crate) fn here() -> (Origin, Process) {
    static KNOWN: ForkLocal<Mutex<Option<Known>>> = ForkLocal::new();

    if let Some(world) = simulated::world() {
        return world.here();
    }
    let mut known =
        KNOWN.get_or_make(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let booted = clock::boot_moment();
    match &*known {
        Some(known) if known.booted.0.abs_diff(booted.0) < SAME_BOOT.as_nanos() => known.here,
        _ => {
            let (time, pids) = (os::time_space(), os::pid_space());
            let origin = Origin { boot: os::boot_id(), time, pids };
            let here = (origin, process(std::process::id()));
            *known = Some(Known { here, booted });
            here
        }
    }
}

/// The identity of this process, and the boot moment at which it was read.
struct Known {
    here: (Origin, Process),
    booted: Stamp,
}

/// How much the boot moment (wall clock less boot clock) may vary within one boot. It is constant
/// during a boot unless somebody sets the wall clock; then the identity is read again, needlessly.
/// It differs under another boot, and in the time namespace that a restored process gets. The check
/// reads two clocks and no file.
const SAME_BOOT: Duration = Duration::from_millis(10);

/// Returns a process with its start time.
pub(crate) fn process(pid: u32) -> Process {
    simulated::count(Kind::Identity);
    Process { pid, start: os::start_of(pid).unwrap_or(0) }
}

/// Returns whether all of the owner's processes are gone.
pub(crate) fn life(owner: Owner) -> Liveness {
    let mut processes = owner.processes().peekable();
    if processes.peek().is_some() && processes.all(is_gone) {
        Liveness::Gone
    } else {
        Liveness::Alive
    }
}

fn is_gone(process: Process) -> bool {
    simulated::count(Kind::Liveness);
    match simulated::world() {
        Some(world) => world.is_gone(process),
        None => os::is_gone(process),
    }
}

/// Returns a handle on the first of the owner's processes that is alive; the handle notifies of the
/// end of that process.
pub(crate) fn first_living(owner: Owner) -> Option<os::ProcessHandle> {
    if simulated::world().is_some() {
        return None;
    }
    owner.processes().find_map(|process| {
        simulated::count(Kind::ProcessHandle);
        let life = os::ProcessHandle::of(process.pid)?;
        (!is_gone(process)).then_some(life)
    })
}

/// Returns the host's name.
pub(crate) fn host() -> String {
    if let Some(world) = simulated::world() {
        return world.host();
    }
    static HOST: ForkLocal<String> = ForkLocal::new();
    HOST.get_or_make(os::host).clone()
}

/// Returns when this kernel was booted, by the wall clock; `None` inside a time namespace, whose
/// boot clock counts from another moment.
pub(crate) fn booted() -> Option<Stamp> {
    os::counts_from_boot(here().0.time).then(clock::boot_moment)
}
