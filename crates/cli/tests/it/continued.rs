//! A command that is continued (`fg`, SIGCONT) after its lock's deadline runs until its supervisor has
//! stopped it again. These tests measure how long that takes.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::busy::BusyProcesses;
use crate::{Folder, Holding, until, ways};

/// How often it is continued; `LOCKBYDIR_CONTINUATIONS` in the environment sets another number.
const CONTINUATIONS: usize = 50;
/// The pause between two continuations.
const REST: Duration = Duration::from_millis(10);
/// The number of busy processes beside it.
const BUSY: usize = 8;

/// A command that is always busy.
struct Runner(i32);

impl Runner {
    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap()
    }

    fn is_stopped(&self) -> bool {
        self.read("stat").rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    /// Returns how often it has given up the processor, as by a stop.
    fn rests(&self) -> u64 {
        let status = self.read("status");
        let rests = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        rests.unwrap().trim().parse().unwrap()
    }

    /// Returns how long it has had a processor.
    fn ran(&self) -> Duration {
        let schedstat = self.read("schedstat");
        Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
    }

    /// Continues it. Returns how long it runs until it is stopped again.
    fn run_when_continued(&self) -> Duration {
        // The supervisor is at rest before a continuation, as it is when a person types `fg`.
        std::thread::sleep(REST);
        let (ran, rests) = (self.ran(), self.rests());
        kill_process(Pid::from_raw(self.0).unwrap(), Signal::CONT).unwrap();
        until("the stop", || self.rests() > rests && self.is_stopped());
        self.ran() - ran
    }
}

#[test]
fn a_command_continued_after_the_deadline_is_stopped_soon() {
    let times = std::env::var("LOCKBYDIR_CONTINUATIONS");
    let times = times.map_or(CONTINUATIONS, |times| times.parse().unwrap());
    for way in ways() {
        for load in [0, BUSY] {
            let folder = Folder::new();
            let options = [&["-t", "500ms"], way].concat();
            let holding = folder.hold(&options, "exec sh -c 'while :; do :; done'");
            let runner = Runner(holding.pid);
            // Without renewals the deadline passes.
            holding.signal(Signal::STOP);
            until("the deadline", || runner.is_stopped());
            let busy = BusyProcesses::start(load);

            let mut ran: Vec<Duration> = (0..times).map(|_| runner.run_when_continued()).collect();
            drop(busy);
            end(holding, runner);

            ran.sort();
            let (median, most) = (ran[times / 2], ran[times - 1]);
            let (tenth, nine) = (ran[times / 10], ran[times - 1 - times / 10]);
            println!(
                "{way:?}, {load} busy: {times} times {median:?} (8 of 10 {tenth:?} to {nine:?}, at most {most:?})"
            );
            // A supervisor that only polls would let it run until its next look.
            assert!(median < LOOK / 10, "{way:?}, {load} busy: {ran:?}");
        }
    }
}

/// The interval at which a supervisor looks, independent of notifications.
const LOOK: Duration = Duration::from_millis(100);

/// Lets the command continue after a late renewal, and kills it.
fn end(holding: Holding, runner: Runner) {
    holding.signal(Signal::CONT);
    until("the late renewal", || !runner.is_stopped());
    kill_process(Pid::from_raw(runner.0).unwrap(), Signal::KILL).unwrap();
    assert_eq!(holding.finish().code, 137);
}
