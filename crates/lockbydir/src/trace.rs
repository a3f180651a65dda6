//! Reports to `tracing`, with the feature of that name; without it, nothing is reported.

use std::path::Path;

use crate::error::Error;
use crate::status::How;

/// Whether anything is reported.
pub(crate) const REPORTS: bool = cfg!(feature = "tracing");

/// Reports that the lock was acquired: as a warning if its predecessor did not release it.
pub(crate) fn acquired(path: &Path, token: u64, how: &How) {
    #[cfg(feature = "tracing")]
    match how {
        How::AfterExpiry(before) => {
            tracing::warn!(lock = %path.display(), token, %before, "acquired after expiry");
        }
        How::AfterDeath(before) => {
            tracing::warn!(lock = %path.display(), token, %before, "acquired after death");
        }
        How::Free | How::HandedOver(_) => {
            tracing::debug!(lock = %path.display(), token, "acquired");
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (path, token, how);
}

/// Reports that the lock was released.
pub(crate) fn released(path: &Path, token: u64) {
    #[cfg(feature = "tracing")]
    tracing::debug!(lock = %path.display(), token, "released");
    #[cfg(not(feature = "tracing"))]
    let _ = (path, token);
}

/// Reports that a renewal has failed, which will be tried again.
pub(crate) fn renewal_failed(path: &Path, cause: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(lock = %path.display(), cause, "a renewal failed");
    #[cfg(not(feature = "tracing"))]
    let _ = (path, cause);
}

/// Reports a loss.
pub(crate) fn lost(error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!("{error}");
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}
