//! Values that belong to one process alone. A fork copies only the calling thread: a mutex that
//! another thread has locked at that moment stays locked forever in the child. So nothing that
//! threads share under a mutex may be used after a fork: a child begins with its own value, and
//! never touches its parent's.

use std::sync::OnceLock;

use crate::os;

/// An identifier of the process that made a value: this process, or one that it was forked from.
///
/// A PID cannot identify it: a child may get the PID of an ancestor that has ended, and in a PID
/// namespace of its own a child of PID 1 is PID 1 again. Reading the generation is not a system
/// call (on Linux from 4.14 on).
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
    /// Returns the generation of this process.
    #[must_use]
    pub fn current() -> ForkGeneration {
        ForkGeneration(os::fork_generation())
    }

    /// Returns the generation as a number, for other languages: larger than those of all its
    /// ancestors.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// Returns true if this is still the process in which the value was taken.
    #[must_use]
    pub fn is_current(self) -> bool {
        self == ForkGeneration::current()
    }
}

/// A value that each process has separately; a forked child gets a new one. The child neither uses
/// nor drops its parent's value.
///
/// ```
/// use std::sync::Mutex;
/// use lockbydir::engine::ForkLocal;
///
/// static NAMES: ForkLocal<Mutex<Vec<String>>> = ForkLocal::new();
/// NAMES.get_or_make(Mutex::default).lock().unwrap().push("jobs".into());
/// assert_eq!(NAMES.get().unwrap().lock().unwrap().len(), 1);
/// ```
pub struct ForkLocal<T>(OnceLock<Box<Made<T>>>);

/// The value of a process; `next` is the value of its forked child.
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
    /// Creates an empty cell.
    #[must_use]
    pub const fn new() -> ForkLocal<T> {
        ForkLocal(OnceLock::new())
    }

    /// Returns this process's own value, and makes it first if there is none yet.
    pub fn get_or_make(&self, make: impl Fn() -> T) -> &T {
        let made_in = ForkGeneration::current();
        let slot = self.slot(made_in);
        if slot.get().is_none() {
            // The value is made before it is stored, so that a fork finds the slot empty or full. A
            // second thread takes the value that the first has stored.
            let _ = slot.set(Box::new(Made { made_in, value: make(), next: OnceLock::new() }));
        }
        &slot.get().expect("just put there").value
    }

    /// Returns this process's own value, if it has one.
    pub fn get(&self) -> Option<&T> {
        self.slot(ForkGeneration::current()).get().map(|found| &found.value)
    }

    /// Returns the slot in which the value of this process is or will be: behind those of its
    /// ancestors.
    fn slot(&self, of: ForkGeneration) -> &OnceLock<Box<Made<T>>> {
        let mut slot = &self.0;
        while let Some(of_a_parent) = slot.get().filter(|found| found.made_in != of) {
            slot = &of_a_parent.next;
        }
        slot
    }
}
