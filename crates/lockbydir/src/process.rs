//! Who lives, and where we are: processes, their start times, boot and namespaces, as a test's
//! world or the system tells. Decides nothing.

use lockbydir_protocol::{Life, Origin, Owner, Process};

use crate::own::Own;
use crate::{system, testing};

pub(crate) use crate::system::command;

/// This process as the protocol knows it. A forked child finds its own.
pub(crate) fn here() -> (Origin, Process) {
    static KNOWN: Own<(Origin, Process)> = Own::new();

    if let Some(world) = testing::world() {
        return world.here();
    }
    *KNOWN.get_or_make(|| {
        let (time, pids) = (system::time_space(), system::pid_space());
        (Origin { boot: system::boot_id(), time, pids }, process(std::process::id()))
    })
}

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
