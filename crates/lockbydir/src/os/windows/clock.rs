//! The clock that nobody sets.

pub(crate) use lockbydir_windows::since_boot;

/// Does it count from the kernel's boot? There are no others here.
pub(crate) fn counts_from_boot(_time_space: u32) -> bool {
    true
}
