//! What a short `run` costs beside its command: the system calls of its own processes, and its threads. A
//! change that adds a call must raise the budget, and say why.

use std::collections::BTreeMap;

use lockbydir_testbed::needs;

use crate::Folder;

/// The calls of `run` and its supervisor that do not depend on the machine, beyond those of a start of the
/// program.
const CALLS: usize = 127;
/// How often it is measured at most. One run within the budget is enough: where processes run late, they wake
/// each other more often, and make a few calls more; and one that lasts long starts to renew.
const RUNS: usize = 20;

/// Calls whose number depends on the machine (how much memory the C library takes at once, how long files
/// of the kernel are, how deep the folder of temporary files lies), on the build (checks of descriptors when one is closed), or on which process runs first
/// (how many events one wake-up finds).
const VARYING: [&str; 13] = [
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "mremap",
    "read",
    "readlink",
    "futex",
    "rt_sigreturn",
    "restart_syscall",
    "ppoll",
    "wait4",
];

/// The system calls of a program and all its children, as often as each was made.
#[derive(Default)]
struct Calls {
    by_name: BTreeMap<String, usize>,
    threads: usize,
}

impl Calls {
    /// Runs `lockbydir` with these arguments, and counts.
    fn of(folder: &Folder, args: &[&str]) -> Calls {
        let program = folder.command(args);
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut strace = std::process::Command::new("strace");
        strace.args(["-f", "-qq", "-o"]).arg(log.path()).arg(program.get_program()).args(args);
        strace.current_dir(folder.path());
        for (name, _) in program.get_envs() {
            strace.env_remove(name);
        }
        let output = strace.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut calls = Calls::default();
        let log = std::fs::read_to_string(log.path()).unwrap();
        // The second half of a call that others have interrupted begins with `<`, a signal with `-`.
        for line in log.lines().filter_map(|line| line.split_once(' ')).map(|(_, line)| line.trim())
        {
            let Some((name, rest)) = line.split_once('(').filter(|_| !line.starts_with(['<', '-']))
            else {
                continue;
            };
            calls.threads += usize::from(rest.contains("CLONE_THREAD"));
            if !VARYING.contains(&name) && !rest.contains("F_GETFD") {
                *calls.by_name.entry(name.to_owned()).or_default() += 1;
            }
        }
        calls
    }

    fn number(&self) -> usize {
        self.by_name.values().sum()
    }
}

#[test]
fn a_short_run_has_one_thread_and_keeps_its_budget_of_calls() {
    needs!(Strace);
    let folder = Folder::new();
    // The loader, the runtime, and the end: what any start of the program costs.
    let start = Calls::of(&folder, &["run", "--version"]);

    let command = [env!("CARGO_BIN_EXE_lockbydir"), "run", "--version"];
    let mut least = usize::MAX;
    for _ in 0..RUNS {
        let run = Calls::of(&folder, &[&["run", "jobs", "--"][..], &command].concat());
        let number = run.number() - 2 * start.number();
        if number <= CALLS && run.threads == 0 {
            return;
        }
        if number < least {
            least = number;
            println!("{number} calls and {} threads: {:#?}", run.threads, run.by_name);
        }
    }
    panic!(
        "{least} calls, and not {CALLS} at most, or a thread; a start alone: {:#?}",
        start.by_name
    );
}
