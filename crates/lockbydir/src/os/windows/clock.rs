//! The monotonic clock, which nobody can set.

pub(crate) use lockbydir_windows::since_boot;

/// Returns true if the clock counts from the kernel's boot. Here it always does.
pub(crate) fn counts_from_boot(_time_space: u32) -> bool {
    true
}
