//! What `run` asks of macOS alone. It is type-checked; nobody has run it yet.

use std::io;

use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// Here they become the first process's: those that left the command's group are not found.
pub(super) fn adopt_orphans() {}

/// Here none does: a command whose `lockbydir` is killed goes on, and the lock names it until the
/// timeout.
pub(super) fn die_with_parent() -> io::Result<()> {
    Ok(())
}

/// The signals that this process ignores, as a bit mask: here that cannot be asked.
pub(super) fn ignored() -> u64 {
    0
}

/// All living processes, each with its parent.
pub(super) fn parents() -> Vec<(i32, i32)> {
    let mut system = System::new();
    let (all, little) = (ProcessesToUpdate::All, ProcessRefreshKind::nothing());
    system.refresh_processes_specifics(all, true, little);
    let living =
        system.processes().iter().filter(|(_, found)| found.status() != ProcessStatus::Zombie);
    let pairs = living.filter_map(|(pid, found)| {
        let number = |pid: sysinfo::Pid| i32::try_from(pid.as_u32()).ok();
        Some((number(*pid)?, number(found.parent()?)?))
    });
    pairs.collect()
}
