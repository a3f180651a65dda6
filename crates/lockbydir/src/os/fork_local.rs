//! What belongs to this process alone. A fork copies one thread: a lock that another one had taken
//! at that moment stays taken for ever in the child. So nothing that threads share under a lock
//! outlives a fork: a child begins with its own, and never touches what its parent left it.

use std::sync::OnceLock;

use crate::os;

/// Which process made a value: this one, or one that it was forked from.
///
/// No PID says that: a child may get the PID of an ancestor that has ended, and in a PID namespace
/// of its own a child of PID 1 is PID 1 again. Asking is no system call (on Linux from 4.14 on).
///
/// ```
/// use lockbydir::engine::ForkGeneration;
///
/// let made_in = ForkGeneration::current();
/// assert!(made_in.is_current()); // and not in a forked child
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkGeneration(u64);

impl ForkGeneration {
    /// That of this process.
    #[must_use]
    pub fn current() -> ForkGeneration {
        ForkGeneration(os::fork_generation())
    }

    /// As a number, for other languages: larger than those of all its ancestors.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// Is this still the process that it was taken in?
    #[must_use]
    pub fn is_current(self) -> bool {
        self == ForkGeneration::current()
    }
}

/// One value for each process; a forked child has a new one. What its parent left is neither used
/// nor dropped there.
///
/// ```
/// use std::sync::Mutex;
/// use lockbydir::engine::Own;
///
/// static NAMES: Own<Mutex<Vec<String>>> = Own::new();
/// NAMES.get_or_make(Mutex::default).lock().unwrap().push("jobs".into());
/// assert_eq!(NAMES.get().unwrap().lock().unwrap().len(), 1);
/// ```
pub struct ForkLocal<T>(OnceLock<Box<Made<T>>>);

/// What a process has, and after a fork what its child has.
struct Made<T> {
    made_in: ForkGeneration,
    value: T,
    next: OnceLock<Box<Made<T>>>,
}

impl<T> Default for ForkLocal<T> {
    fn default() -> ForkLocal<T> {
        ForkLocal::new()
    }
}

impl<T> ForkLocal<T> {
    /// None yet.
    #[must_use]
    pub const fn new() -> ForkLocal<T> {
        ForkLocal(OnceLock::new())
    }

    /// This process's own; made now, if it has none yet.
    pub fn get_or_make(&self, make: impl Fn() -> T) -> &T {
        let made_in = ForkGeneration::current();
        let slot = self.slot(made_in);
        if slot.get().is_none() {
            // Made before it is put there, so that a fork finds the slot empty or full. Who comes
            // second takes what the first one has put.
            let _ = slot.set(Box::new(Made { made_in, value: make(), next: OnceLock::new() }));
        }
        &slot.get().expect("just put there").value
    }

    /// This process's own, if it has one.
    pub fn get(&self) -> Option<&T> {
        self.slot(ForkGeneration::current()).get().map(|found| &found.value)
    }

    /// Where the value of this process is, or will be: behind those of its parents.
    fn slot(&self, of: ForkGeneration) -> &OnceLock<Box<Made<T>>> {
        let mut slot = &self.0;
        while let Some(of_a_parent) = slot.get().filter(|found| found.made_in != of) {
            slot = &of_a_parent.next;
        }
        slot
    }
}
