//! Why a probe could not be run.

use crate::os::Errno;

/// Why a probe could not finish.
#[derive(Debug)]
pub(super) enum ProbeError {
    Failed(Errno),
    /// The peer stopped answering; the last order.
    Silent(String),
    /// The examination was interrupted.
    Ended,
}

impl From<Errno> for ProbeError {
    fn from(errno: Errno) -> ProbeError {
        ProbeError::Failed(errno)
    }
}

/// Returns the system's error text, without its number.
pub(super) fn describe(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
