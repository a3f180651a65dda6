//! What a console tells its programs.

use std::sync::OnceLock;

use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::core::BOOL;

/// What was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Ctrl-C.
    C,
    /// Ctrl-Break.
    Break,
    /// The window, the session or the computer is being closed. This process ends as soon as the one
    /// who is told comes back.
    Close,
}

static TOLD: OnceLock<fn(Control)> = OnceLock::new();

/// From now on, this is told of control events, in a thread of its own each, and they do not end this
/// process by themselves. The first call counts.
pub fn on_control(told: fn(Control)) {
    if TOLD.set(told).is_ok() {
        // SAFETY: the handler is a function that is there as long as the process.
        unsafe { SetConsoleCtrlHandler(Some(handle), 1) };
    }
}

unsafe extern "system" fn handle(event: u32) -> BOOL {
    if let Some(told) = TOLD.get() {
        told(match event {
            CTRL_C_EVENT => Control::C,
            CTRL_BREAK_EVENT => Control::Break,
            _ => Control::Close,
        });
    }
    1
}
