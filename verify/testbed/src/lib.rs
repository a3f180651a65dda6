//! What tests need and not every machine gives: another user, mounts, namespaces, FUSE; and a process without
//! other tests.
//!
//! A test that needs one of these begins with [`needs!`]. Where this process has it, the test goes on. Where
//! a namespace gives it, the test runs there, in a process of its own. Where neither does, the test is left
//! out: it prints so, and `tests/left_out.rs` lists it when `cargo test --workspace` ends. If
//! [`LEAVE_NOTHING_OUT`] is set in the environment, as in the gate, the test fails instead.
//!
//! A test program that is linked with this crate also starts its children with the usual signals, whatever
//! its own caller ignores ([`signals`]).

#![cfg(unix)]

mod left_out;
mod need;
mod rerun;
pub mod signals;

use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

pub use left_out::{LEAVE_NOTHING_OUT, is_left_out, take_all};
pub use need::Need;
pub use rerun::goes_on_here;

/// Begins a test that needs something: `needs!(AnotherUser)`. Returns from the test unless it goes on here.
#[macro_export]
macro_rules! needs {
    ($need:ident) => {
        if !$crate::goes_on_here($crate::Need::$need, env!("CARGO_PKG_NAME"), &$crate::name!()) {
            return;
        }
    };
}

/// Records that a part of a test is left out, and why.
#[macro_export]
macro_rules! leave_out {
    ($part:expr, $why:expr) => {
        $crate::is_left_out(
            env!("CARGO_PKG_NAME"),
            &format!("{}, {}", $crate::name!(), $part),
            &$why.to_string(),
        )
    };
}

/// Returns the name of the test around it, as the test program knows it.
#[macro_export]
macro_rules! name {
    () => {
        $crate::name_of(&|| ())
    };
}

/// Returns the name of the function that this closure was made in, without its crate.
#[must_use]
pub fn name_of<Closure>(_made_there: &Closure) -> String {
    let path = std::any::type_name::<Closure>().replace("::{{closure}}", "");
    path.split_once("::").map_or(path.clone(), |(_, name)| name.to_owned())
}

/// Held by a test that measures time or starts many processes: such tests run one at a time.
#[must_use]
pub struct WholeMachine {
    _thread: MutexGuard<'static, ()>,
    _program: Option<File>,
}

/// Waits until no other such test of this test program runs, here or in a process of its own.
pub fn whole_machine() -> WholeMachine {
    static MACHINE: Mutex<()> = Mutex::new(());
    let thread = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    // A file system that has no such locks lets a test in a process of its own run beside another one.
    let program = std::env::current_exe().and_then(File::open).ok();
    let program = program.filter(|file| flock(file, FlockOperation::LockExclusive).is_ok());
    WholeMachine { _thread: thread, _program: program }
}
