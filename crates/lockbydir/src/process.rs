//! Who lives, and where we are: processes, their start times, boot and namespaces, as a test's
//! world or the system tells. Decides nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockbydir_protocol::{Life, Origin, Owner, Process, Stamp};

use crate::own::Own;
use crate::{clock, system, testing};

pub(crate) use crate::system::command;

/// This process as the protocol knows it. A forked child finds its own, and a process that was
/// checkpointed and restored under another boot its new one.
pub(crate) fn here() -> (Origin, Process) {
    static KNOWN: Own<Mutex<Option<Known>>> = Own::new();

    if let Some(world) = testing::world() {
        return world.here();
    }
    let mut known =
        KNOWN.get_or_make(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let booted = clock::boot_moment();
    match &*known {
        Some(known) if known.booted.0.abs_diff(booted.0) < SAME_BOOT.as_nanos() => known.here,
        _ => {
            let (time, pids) = (system::time_space(), system::pid_space());
            let origin = Origin { boot: system::boot_id(), time, pids };
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
    Process { pid, start: system::start_of(pid).unwrap_or(0) }
}

/// Are all of the owner's processes gone?
pub(crate) fn life(owner: Owner) -> Life {
    let mut processes = owner.processes().peekable();
    if processes.peek().is_some() && processes.all(is_gone) { Life::Gone } else { Life::Alive }
}

fn is_gone(process: Process) -> bool {
    match testing::world() {
        Some(world) => world.is_gone(process),
        None => system::is_gone(process),
    }
}

/// A handle on the first of the owner's processes that lives; it tells of its end.
pub(crate) fn first_living(owner: Owner) -> Option<system::Life> {
    if testing::world().is_some() {
        return None;
    }
    owner.processes().find_map(|process| {
        let life = system::Life::of(process.pid)?;
        (!is_gone(process)).then_some(life)
    })
}

/// The host's name.
pub(crate) fn host() -> String {
    if let Some(world) = testing::world() {
        return world.host();
    }
    static HOST: Own<String> = Own::new();
    HOST.get_or_make(system::host).clone()
}
