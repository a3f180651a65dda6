//! Which processes live, and the identity of this one: processes, their start times, boot and
//! namespaces, from a test's world or from the system. Decides nothing.

use std::rc::Rc;

use lockbydir_protocol::{Liveness, Origin, Owner, Process, Stamp};

use crate::os;
use crate::os::boot_local::BootLocal;
use crate::os::fork_local::ForkLocal;
use crate::os::simulated::Kind;
use crate::os::{clock, simulated};

pub(crate) use crate::os::command;

/// Returns this process as the protocol identifies it. A forked child gets its own identity, and so
/// does a process that was checkpointed and restored under another boot.
pub(crate) fn here() -> (Origin, Process) {
    static KNOWN: BootLocal<(Origin, Process)> = BootLocal::new();

    if let Some(world) = simulated::world() {
        return world.here();
    }
    KNOWN.get().unwrap_or_else(|| {
        let (time, pids) = (os::time_space(), os::pid_space());
        let origin = Origin { boot: os::boot_id(), time, pids };
        let here = (origin, process(std::process::id()));
        KNOWN.set(here);
        here
    })
}

/// Returns a process with its start time.
pub(crate) fn process(pid: u32) -> Process {
    simulated::count(Kind::Identity);
    Process { pid, start: os::start_of(pid).unwrap_or(0) }
}

/// What was found of a process, or of an owner's processes.
#[derive(Clone)]
pub(crate) enum Watch {
    /// This process is alive. Its handle notifies of its end and of nothing else, even if another
    /// process gets its PID: so while the handle is kept, nothing else needs to be asked.
    Living(Rc<os::ProcessHandle>),
    /// A process counts as alive, and only further looks show its end.
    Unwatched,
    /// It is gone for certain, or all of them are.
    Gone,
}

impl Watch {
    /// Returns the handle of the living process, if one is available.
    pub(crate) fn handle(&self) -> Option<&os::ProcessHandle> {
        match self {
            Watch::Living(handle) => Some(handle),
            Watch::Unwatched | Watch::Gone => None,
        }
    }

    /// Returns true if that process has ended since.
    pub(crate) fn has_ended(&self) -> bool {
        self.handle().is_some_and(os::ProcessHandle::has_ended)
    }

    pub(crate) fn life(&self) -> Liveness {
        match self {
            Watch::Gone => Liveness::Gone,
            Watch::Living(_) | Watch::Unwatched => Liveness::Alive,
        }
    }
}

/// Returns the first of the owner's processes that is alive.
pub(crate) fn watch(owner: Owner) -> Watch {
    let mut found = Watch::Unwatched;
    for process in owner.processes() {
        found = watch_process(process);
        if !matches!(found, Watch::Gone) {
            break;
        }
    }
    found
}

/// Returns what [`watch`] returns now, given what it returned for the same owner before. While the
/// process with the kept handle lives, this is one system call.
pub(crate) fn watch_on(owner: Owner, kept: Watch) -> Watch {
    match kept {
        Watch::Living(handle) if !handle.has_ended() => Watch::Living(handle),
        _ => watch(owner),
    }
}

fn watch_process(process: Process) -> Watch {
    simulated::count(Kind::Liveness);
    match simulated::world() {
        Some(world) if world.is_gone(process) => Watch::Gone,
        Some(_) => Watch::Unwatched,
        None => os::watch(process),
    }
}

/// Returns whether all of the owner's processes are gone.
pub(crate) fn life(owner: Owner) -> Liveness {
    watch(owner).life()
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().expect("a process")
    }

    fn end(mut child: Child) {
        child.kill().expect("it is ours");
        child.wait().expect("its end");
    }

    fn is_living(watch: &Watch) -> bool {
        matches!(watch, Watch::Living(_))
    }

    #[test]
    fn a_kept_watch_notices_the_end_of_each_process() {
        let (first, second) = (sleeper(), sleeper());
        let owner = Owner::Two(process(first.id()), process(second.id()));

        let watch = watch_on(owner, watch(owner));
        assert!(is_living(&watch));
        end(first);
        let watch = watch_on(owner, watch);
        assert!(is_living(&watch), "the second process lives");
        end(second);
        let watch = watch_on(owner, watch);
        assert!(matches!(watch, Watch::Gone));
    }

    #[test]
    fn a_handle_is_on_a_process_and_not_on_its_pid() {
        let child = sleeper();
        let found = process(child.id());
        let earlier = Owner::One(Process { start: found.start - 1, ..found });

        assert!(matches!(watch(earlier), Watch::Gone), "another process has its PID");
        assert!(is_living(&watch(Owner::One(found))));
        assert!(is_living(&watch(Owner::One(Process { start: 0, ..found }))));
        end(child);
    }

    #[test]
    fn an_unreaped_process_is_gone() {
        let mut child = sleeper();
        let owner = Owner::One(process(child.id()));
        let kept = watch(owner);
        child.kill().expect("it is ours");

        // A pidfd becomes readable at the end.
        let Watch::Living(handle) = &kept else { panic!("it was alive") };
        let ready = os::sleep_on(&[handle.source()], std::time::Duration::from_secs(20));

        assert_eq!(ready, Some(0));
        assert!(matches!(watch_on(owner, kept), Watch::Gone));
        child.wait().expect("its end");
    }

    #[test]
    fn nobody_and_nonsense_count_as_alive() {
        assert!(matches!(watch(Owner::Nobody), Watch::Unwatched));
        for pid in [0, u32::MAX] {
            let nonsense = Owner::One(Process { pid, start: 1 });
            assert!(matches!(watch(nonsense), Watch::Unwatched), "{pid}");
        }
    }
}
