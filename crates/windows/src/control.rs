//! Control events that a console sends to its programs.

use std::sync::OnceLock;

use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::core::BOOL;

/// A control event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Ctrl-C.
    C,
    /// Ctrl-Break.
    Break,
    /// The window, the session or the computer is being closed. This process ends as soon as the handler
    /// returns.
    Close,
}

static HANDLER: OnceLock<fn(Control)> = OnceLock::new();

/// Calls `handler` for every control event from now on, each in a thread of its own; the events no longer
/// end this process by themselves. Only the first call has an effect.
pub fn on_control(handler: fn(Control)) {
    if HANDLER.set(handler).is_ok() {
        // SAFETY: the handler is a function, which exists as long as the process.
        unsafe { SetConsoleCtrlHandler(Some(handle), 1) };
    }
}

unsafe extern "system" fn handle(event: u32) -> BOOL {
    if let Some(handler) = HANDLER.get() {
        handler(match event {
            CTRL_C_EVENT => Control::C,
            CTRL_BREAK_EVENT => Control::Break,
            _ => Control::Close,
        });
    }
    1
}
