//! Fork detection: which generation of a process runs this code, without a system call.
//!
//! A PID does not tell. A child may get the PID of an ancestor that has ended, and in a PID
//! namespace of its own a child of PID 1 is PID 1 too. So the generation is kept in a page that the
//! kernel wipes in the child of every fork (Linux 4.14: `MADV_WIPEONFORK`), however it was made.
//! Where there is no such page, a handler that the C library calls in the child of `fork` does the
//! same; a child made behind the C library's back is known there by its PID only.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// The largest generation so far, here or in an ancestor. It is ordinary memory, which a fork
/// copies: so a child's generation is larger than all that its ancestors had.
static LARGEST: AtomicU64 = AtomicU64::new(0);
/// Where this process's generation is; null until it is first asked for. It outlives every fork.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// The generation where no page is wiped; a fork handler zeroes it in the child.
static BY_HANDLER: AtomicU64 = AtomicU64::new(0);

/// A number that is different in every forked child from those of all its ancestors. It stays the
/// same as long as a process lives, through `unshare`, `setns` and `exec` of other processes.
#[must_use]
pub fn fork_generation() -> u64 {
    // SAFETY: what is not null there is a page that `make_page` has mapped, zeroed and never unmaps.
    let page = unsafe { PAGE.load(Ordering::Acquire).as_ref() };
    of(page.unwrap_or_else(|| page_or_handler()))
}

/// The generation in this cell; the first one to ask in a process puts it there.
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
            // Who comes second leaves its page unused: a few bytes, once.
            let (done, failed) = (Ordering::AcqRel, Ordering::Acquire);
            let first = PAGE.compare_exchange(null, page.as_ptr(), done, failed);
            let page = first.err().and_then(NonNull::new).unwrap_or(page);
            // SAFETY: as above.
            unsafe { page.as_ref() }
        }
        None => by_handler(),
    }
}

/// A page that is all zeroes in each forked child; none where the kernel has no such thing.
#[cfg(target_os = "linux")]
fn make_page() -> Option<NonNull<AtomicU64>> {
    /// Enough for the number; the kernel maps a whole page, aligned to one.
    const LENGTH: usize = size_of::<AtomicU64>();
    /// Advice that nobody has. An emulator of system calls that accepts it ignores all advice.
    const NONSENSE: libc::c_int = -1;
    let (read_and_write, private) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);

    // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, read_and_write, private, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the advice is about this new page alone, which nobody uses yet.
    let is_wiped = unsafe {
        libc::madvise(page, LENGTH, NONSENSE) != 0
            && libc::madvise(page, LENGTH, libc::MADV_WIPEONFORK) == 0
    };
    if !is_wiped {
        // SAFETY: nobody else has learnt of this page.
        unsafe { libc::munmap(page, LENGTH) };
        return None;
    }
    NonNull::new(page.cast())
}

#[cfg(not(target_os = "linux"))]
fn make_page() -> Option<NonNull<AtomicU64>> {
    None
}

/// The generation by the C library's handler; by the PID too, for a child that it does not know of.
fn by_handler() -> &'static AtomicU64 {
    static HAS_HANDLER: AtomicBool = AtomicBool::new(false);
    /// 0 until it is first asked for.
    static PID: AtomicU64 = AtomicU64::new(0);
    extern "C" fn forget() {
        PID.store(0, Ordering::Release);
        BY_HANDLER.store(0, Ordering::Release);
    }

    if !HAS_HANDLER.swap(true, Ordering::AcqRel) {
        // SAFETY: the handler stores two atomic numbers, which may be done in a child of any fork.
        // Without memory for the handler the PID alone has to tell.
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

    /// What a forked child says, as its exit code.
    fn in_a_child(work: impl FnOnce() -> bool) -> bool {
        match fork::fork().expect("a fork") {
            fork::Fork::Child => {
                let code = i32::from(!work());
                // SAFETY: it ends this process, which owns nothing that wants an orderly end.
                unsafe { libc::_exit(code) }
            }
            fork::Fork::Parent(child) => fork::waitpid(child).expect("its end") == 0,
        }
    }

    #[test]
    fn a_generation_lasts_and_a_childs_is_another_one() {
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
    fn without_a_wiped_page_the_handler_tells() {
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
