//! Who lives, and where we are: processes, their start times, boot and namespaces, as a test's
//! world or the system tells. Decides nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockbydir_protocol::{Liveness, Origin, Owner, Process, Stamp};

use crate::os;
use crate::os::fork_local::ForkLocal;
use crate::os::{clock, simulated};

pub(crate) use crate::os::command;

/// This process as the protocol knows it. A forked child finds its own, and a process that was
/// checkpointed and restored under another boot its new one.
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

/// What was found of this process, and by which boot moment.
struct Known {
    here: (Origin, Process),
    booted: Stamp,
}

/// The wall clock less the boot clock is the same as long as a boot lasts, unless somebody sets the
/// wall clock: then we look again, for nothing. Under another boot, or in the time namespace that a
/// restored process is given, it is another one. This asks for two clocks and no file.
const SAME_BOOT: Duration = Duration::from_millis(10);

/// A process and its start time.
pub(crate) fn process(pid: u32) -> Process {
    Process { pid, start: os::start_of(pid).unwrap_or(0) }
}

/// Are all of the owner's processes gone?
pub(crate) fn life(owner: Owner) -> Liveness {
    let mut processes = owner.processes().peekable();
    if processes.peek().is_some() && processes.all(is_gone) {
        Liveness::Gone
    } else {
        Liveness::Alive
    }
}

fn is_gone(process: Process) -> bool {
    match simulated::world() {
        Some(world) => world.is_gone(process),
        None => os::is_gone(process),
    }
}

/// A handle on the first of the owner's processes that lives; it tells of its end.
pub(crate) fn first_living(owner: Owner) -> Option<os::ProcessHandle> {
    if simulated::world().is_some() {
        return None;
    }
    owner.processes().find_map(|process| {
        let life = os::ProcessHandle::of(process.pid)?;
        (!is_gone(process)).then_some(life)
    })
}

/// The host's name.
pub(crate) fn host() -> String {
    if let Some(world) = simulated::world() {
        return world.host();
    }
    static HOST: ForkLocal<String> = ForkLocal::new();
    HOST.get_or_make(os::host).clone()
}
