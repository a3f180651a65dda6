//! The raw calls that no safe interface has, each wrapped so that its callers need no `unsafe`: a
//! fork without exec, the mask and the dispositions of signals, closing inherited descriptors. Each is
//! one system call (or a few), allocates nothing and takes no lock.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// A set of signals.
#[derive(Clone, Copy)]
pub(super) struct Mask(libc::sigset_t);

/// Forks. Returns the child's PID in the parent, and `None` in the child. The child has one thread, so
/// it may only do what a signal handler may.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: in the child, the callers (the supervisor, and the command's gate) make system calls
    // only: they neither allocate nor take locks, which other threads may have held.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Namespaces of PIDs and of mounts, as flags of [`unshare`].
pub(super) const PIDS_AND_MOUNTS: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
/// The namespace of users, as a flag of [`unshare`].
pub(super) const USERS: i32 = libc::CLONE_NEWUSER;

/// Moves this process into new namespaces; a new one of PIDs holds for its children only.
pub(super) fn unshare(namespaces: i32) -> Result<(), i32> {
    // SAFETY: no memory is given, and no descriptor is touched.
    done(unsafe { libc::unshare(namespaces) }.into())
}

/// Forks like [`fork`], but the child becomes a child of this process's parent.
pub(super) fn fork_sibling() -> Result<Option<Pid>, i32> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: as for `fork`. Without a stack the child gets a copy of ours, as with fork; these flags
    // use no other argument, so their order, which differs between architectures, does not matter.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(errno()),
        pid => Ok(i32::try_from(pid).ok().and_then(Pid::from_raw)),
    }
}

/// Mounts the `/proc` of this PID namespace over the present one, in this mount namespace only: the
/// mount below is made private, so a mount on it is not seen elsewhere.
pub(super) fn mount_proc() -> Result<(), i32> {
    let (at, none) = (c"/proc".as_ptr(), std::ptr::null());
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: the names are terminated texts that live on, and the others may be null.
    unsafe {
        done(libc::mount(none, at, none, libc::MS_PRIVATE, none.cast()).into())?;
        done(libc::mount(c"proc".as_ptr(), at, c"proc".as_ptr(), flags, none.cast()).into())
    }
}

/// Returns the process group of a process, or of this one (0): 0 for a group that this PID namespace
/// does not show, `None` if there is no such process.
pub(super) fn group_of(pid: i32) -> Option<i32> {
    // SAFETY: it takes a number and returns one.
    Some(unsafe { libc::getpgid(pid) }).filter(|&group| group >= 0)
}

/// Asks for short time slices, so that this process runs sooner after it is woken beside busy processes
/// (Linux 6.12; before that it changes nothing). Its priority stays the same.
pub(super) fn shorten_slice() {
    /// The shortest slice that the kernel grants, in nanoseconds.
    const SLICE: u64 = 100_000;
    let mut about = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: both calls are given a `sched_attr` of the first version, which is as long as we say.
    unsafe {
        let us = 0;
        if libc::syscall(libc::SYS_sched_getattr, us, &raw mut about, size, 0) == 0
            && about.policy == libc::SCHED_OTHER.cast_unsigned()
        {
            about.runtime = SLICE;
            libc::syscall(libc::SYS_sched_setattr, us, &raw const about, 0);
        }
    }
}

/// The first version of the kernel's `sched_attr`.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

fn done(result: i64) -> Result<(), i32> {
    if result == -1 { Err(errno()) } else { Ok(()) }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Blocks all signals for this thread. Returns the mask from before.
pub(super) fn block_signals() -> Mask {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: `sigfillset` makes `all` a valid set, and cannot fail for it; `pthread_sigmask` makes
    // `before` one, as its first argument is valid.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Mask(before.assume_init())
    }
}

/// Restores the signal mask of this thread.
pub(super) fn restore_signals(before: &Mask) {
    // SAFETY: the set was made by the system, and nothing is written.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before.0, std::ptr::null_mut()) };
}

/// Gives a signal its default effect. Returns true if it was ignored before.
pub(super) fn set_default(signal: i32) -> bool {
    // SAFETY: no handler is installed, so no code of ours can run by it.
    unsafe { libc::signal(signal, libc::SIG_DFL) == libc::SIG_IGN }
}

pub(super) fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no action is set, and `action` is read only if the call has written it.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

pub(super) fn ignore(signal: i32) {
    // SAFETY: as above.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Returns a descriptor that can be read when a child has ended, stopped or continued. All signals must
/// be blocked.
pub(super) fn child_events() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is made valid before it is used, and the descriptor is new and ours alone.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        match libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Closes a forked child's copy of a descriptor, whose owner lives in another process.
pub(super) fn close_copy(fd: RawFd) {
    // SAFETY: only for a copy that nothing in this process uses any more.
    unsafe { libc::close(fd) };
}

/// Closes all descriptors except this one. This process must use none of the others any more.
pub(super) fn close_all_but(kept: RawFd) {
    let kept = kept.cast_unsigned();
    close_range(0, kept.wrapping_sub(1), kept > 0);
    close_range(kept + 1, u32::MAX, true);
}

/// Closes the descriptors from `first` to `last`, both included.
fn close_range(first: u32, last: u32, is_wanted: bool) {
    if !is_wanted {
        return;
    }
    // SAFETY: as for `close_all_but`; a raw call, since not every C library has it.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Before Linux 5.9. Descriptors above this number are hardly ever open.
    for fd in first..=last.min(65_535) {
        close_copy(fd.cast_signed());
    }
}

/// Texts as the kernel takes them: terminated, with a list of their addresses that ends with null.
pub(super) struct Texts {
    /// What the addresses point to.
    _texts: Vec<CString>,
    addresses: Vec<*const libc::c_char>,
}

impl Texts {
    pub(super) fn new(texts: Vec<CString>) -> Texts {
        let addresses = texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Texts { _texts: texts, addresses }
    }
}

/// Executes a program, found as a shell finds it, in place of this one: the first argument names it.
/// Returns the error number, only if that fails.
pub(super) fn execute(arguments: &Texts, environment: &Texts) -> i32 {
    let (arguments, environment) = (arguments.addresses.as_ptr(), environment.addresses.as_ptr());
    // SAFETY: both lists end with null, so there is a first element, and the texts that they point to live
    // as long as they do.
    unsafe { libc::execvpe(*arguments, arguments, environment) };
    errno()
}

/// Ends this process at once: it flushes nothing and runs no exit handler of the parent.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(code) }
}
