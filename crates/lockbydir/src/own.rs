//! What belongs to this process alone. A fork copies one thread: a lock that another one had taken
//! at that moment stays taken for ever in the child. So nothing that threads share under a lock
//! outlives a fork: a child begins with its own, and never touches what its parent left it.

use std::sync::OnceLock;

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
pub struct Own<T>(OnceLock<Box<Generation<T>>>);

/// What a process has, and after a fork what its child has.
struct Generation<T> {
    pid: u32,
    value: T,
    next: OnceLock<Box<Generation<T>>>,
}

impl<T> Default for Own<T> {
    fn default() -> Own<T> {
        Own::new()
    }
}

impl<T> Own<T> {
    /// None yet.
    #[must_use]
    pub const fn new() -> Own<T> {
        Own(OnceLock::new())
    }

    /// This process's own; made now, if it has none yet.
    pub fn get_or_make(&self, make: impl Fn() -> T) -> &T {
        let pid = std::process::id();
        let slot = self.slot(pid);
        if slot.get().is_none() {
            // Made before it is put there, so that a fork finds the slot empty or full. Who comes
            // second takes what the first one has put.
            let _ = slot.set(Box::new(Generation { pid, value: make(), next: OnceLock::new() }));
        }
        &slot.get().expect("just put there").value
    }

    /// This process's own, if it has one.
    pub fn get(&self) -> Option<&T> {
        self.slot(std::process::id()).get().map(|found| &found.value)
    }

    /// Where the value of this process is, or will be: behind those of its parents.
    fn slot(&self, pid: u32) -> &OnceLock<Box<Generation<T>>> {
        let mut slot = &self.0;
        while let Some(of_a_parent) = slot.get().filter(|found| found.pid != pid) {
            slot = &of_a_parent.next;
        }
        slot
    }
}
