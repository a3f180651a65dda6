//! Fork detection: finds which generation of a process runs this code, without a system call.
//!
//! A PID is not enough. A child may get the PID of an ancestor that has ended, and in a PID
//! namespace of its own a child of PID 1 is PID 1 too. So the generation is kept in a page that the
//! kernel wipes in the child of every fork (Linux 4.14: `MADV_WIPEONFORK`), however the child was
//! made. Where there is no such page, a handler that the C library calls in the child of `fork` does
//! the same; a child made without the C library is recognized there by its PID only.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// The largest generation so far, here or in an ancestor. It is ordinary memory, which a fork
/// copies, so a child's generation is larger than all those of its ancestors.
static LARGEST: AtomicU64 = AtomicU64::new(0);
/// The address of this process's generation; null until the first request. It stays valid in every
/// forked child.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// The generation on systems without a wiped page; a fork handler zeroes it in the child.
static BY_HANDLER: AtomicU64 = AtomicU64::new(0);

/// Returns a number that differs in every forked child from those of all its ancestors. It stays the
/// same as long as a process lives, through `unshare`, `setns` and `exec` of other processes.
#[must_use]
pub fn fork_generation() -> u64 {
    // SAFETY: a non-null address is that of a page that `make_page` has mapped, zeroed and never unmaps.
    let page = unsafe { PAGE.load(Ordering::Acquire).as_ref() };
    of(page.unwrap_or_else(|| page_or_handler()))
}

/// Returns the generation in this cell; the first call in a process stores it.
fn of(cell: &AtomicU64) -> u64 {
    let known = cell.load(Ordering::Acquire);
    if known != 0 {
        return known;
    }
    let next = LARGEST.fetch_add(1, Ordering::AcqRel) + 1;
    // Another thread may have been faster.
    match cell.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => next,
        Err(known) => known,
    }
}

#[cold]
fn page_or_handler() -> &'static AtomicU64 {
    match make_page() {
        Some(page) => {
            let null = std::ptr::null_mut();
            // A thread that is second leaves its page unused: a few bytes, once.
            let (done, failed) = (Ordering::AcqRel, Ordering::Acquire);
            let first = PAGE.compare_exchange(null, page.as_ptr(), done, failed);
            let page = first.err().and_then(NonNull::new).unwrap_or(page);
            // SAFETY: as above.
            unsafe { page.as_ref() }
        }
        None => by_handler(),
    }
}

/// Makes a page that is zeroed in each forked child; returns `None` if the kernel has no such pages.
#[cfg(target_os = "linux")]
fn make_page() -> Option<NonNull<AtomicU64>> {
    /// Enough for the number; the kernel maps a whole page, aligned to one.
    const LENGTH: usize = size_of::<AtomicU64>();
    /// Advice that no kernel knows. An emulator of system calls that accepts it ignores all advice.
    const UNKNOWN_ADVICE: libc::c_int = -1;
    let (read_and_write, private) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);

    // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, read_and_write, private, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the advice is about this new page alone, which no other code uses yet.
    let is_wiped = unsafe {
        libc::madvise(page, LENGTH, UNKNOWN_ADVICE) != 0
            && libc::madvise(page, LENGTH, libc::MADV_WIPEONFORK) == 0
    };
    if !is_wiped {
        // SAFETY: no other code knows this page.
        unsafe { libc::munmap(page, LENGTH) };
        return None;
    }
    NonNull::new(page.cast())
}

#[cfg(not(target_os = "linux"))]
fn make_page() -> Option<NonNull<AtomicU64>> {
    None
}

/// Returns the cell that the C library's handler zeroes. A changed PID zeroes it too, for a child that the
/// C library does not know of.
fn by_handler() -> &'static AtomicU64 {
    static HAS_HANDLER: AtomicBool = AtomicBool::new(false);
    /// The PID at the last request; 0 before the first one.
    static PID: AtomicU64 = AtomicU64::new(0);
    extern "C" fn forget() {
        PID.store(0, Ordering::Release);
        BY_HANDLER.store(0, Ordering::Release);
    }

    if !HAS_HANDLER.swap(true, Ordering::AcqRel) {
        // SAFETY: the handler stores two atomic numbers, which is allowed in a child of any fork.
        // If there is no memory for the handler, only the PID is compared.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(forget)) };
    }
    let pid = u64::from(std::process::id());
    let known = PID.swap(pid, Ordering::AcqRel);
    if known != pid && known != 0 {
        BY_HANDLER.store(0, Ordering::Release);
    }
    &BY_HANDLER
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the result of `work` in a forked child, which passes it as its exit code.
    fn in_a_child(work: impl FnOnce() -> bool) -> bool {
        match fork::fork().expect("a fork") {
            fork::Fork::Child => {
                let code = i32::from(!work());
                // SAFETY: it ends this process, which owns nothing that needs an orderly end.
                unsafe { libc::_exit(code) }
            }
            fork::Fork::Parent(child) => fork::waitpid(child).expect("its end") == 0,
        }
    }

    #[test]
    fn a_generation_is_constant_and_differs_in_a_child() {
        let first = fork_generation();

        assert_eq!(fork_generation(), first);
        assert!(in_a_child(|| {
            let second = fork_generation();
            second > first
                && second == fork_generation()
                && in_a_child(|| fork_generation() > second)
        }));
        assert_eq!(fork_generation(), first, "the child has changed ours");
    }

    #[test]
    fn the_fork_handler_works_without_a_wiped_page() {
        let first = of(by_handler());

        assert_eq!(of(by_handler()), first);
        assert!(in_a_child(
            || of(by_handler()) > first && in_a_child(|| of(by_handler()) > first + 1)
        ));
        assert_eq!(of(by_handler()), first);
    }

    #[test]
    fn the_kernel_of_this_machine_wipes_a_page() {
        assert_eq!(make_page().is_some(), cfg!(target_os = "linux"));
    }
}
