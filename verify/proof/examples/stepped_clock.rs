//! A wall clock that is some seconds ahead (or behind), for a process that preloads this library: as after
//! a step of the system's clock, which a test must not do on a machine that others use. All other clocks
//! stay correct.

use std::ffi::c_int;
use std::sync::OnceLock;

use rustix::time::{ClockId, Timespec};

fn step() -> i64 {
    static STEP: OnceLock<i64> = OnceLock::new();
    let parse = || std::env::var(lockbydir_proof::scripted_worker::STEP).ok()?.parse().ok();
    *STEP.get_or_init(|| parse().unwrap_or(0))
}

/// Replaces the C library's function of this name.
///
/// # Safety
/// As for that function: `time` points to a place for a time.
// SAFETY: of the name: a process that preloads this wants exactly this function to be called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let Ok(clock) = ClockId::try_from(clock) else {
        return -1;
    };
    // This asks the kernel itself, not the C library.
    let mut now = rustix::time::clock_gettime(clock);
    if clock == ClockId::Realtime {
        now.tv_sec += step();
    }
    // SAFETY: the caller passes a place for a time, as the C library's function demands.
    unsafe { time.write(now) };
    0
}
