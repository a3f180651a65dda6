//! Processes that keep the machine busy during a test.

use std::process::{Child, Command};

/// Processes that only use the processor, until this is dropped or the test's process is gone.
pub(crate) struct BusyProcesses(Vec<Child>);

impl BusyProcesses {
    pub(crate) fn start(count: usize) -> BusyProcesses {
        let script = "while kill -0 $PPID; do for i in $(seq 9999); do :; done; done";
        let start = || Command::new("sh").args(["-c", script]).spawn().unwrap();
        BusyProcesses((0..count).map(|_| start()).collect())
    }
}

impl Drop for BusyProcesses {
    fn drop(&mut self) {
        for process in &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
