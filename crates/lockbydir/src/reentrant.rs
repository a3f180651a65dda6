//! Reentrant locks: which thread or task of this process holds which lock, so that it may acquire it
//! again. Waits for nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

use crate::error::Error;
use crate::guard::Guard;
use crate::hold::Hold;
use crate::os::fork_local::ForkLocal;
use crate::status::{How, printable};

/// The holdings of reentrant locks, by the path of the lock and by who acquired it.
static HELD: ForkLocal<Mutex<Holdings>> = ForkLocal::new();

type Holdings = HashMap<(PathBuf, Caller), (Weak<Hold>, How)>;

/// Who acquires a lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Caller {
    Thread(ThreadId),
    #[cfg(feature = "tokio")]
    Task(tokio::task::Id),
}

impl Caller {
    fn current() -> Caller {
        #[cfg(feature = "tokio")]
        if let Some(task) = tokio::task::try_id() {
            return Caller::Task(task);
        }
        Caller::Thread(thread::current().id())
    }
}

fn holdings() -> MutexGuard<'static, Holdings> {
    HELD.get_or_make(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns another guard of the holding that the calling thread or task has, if it has one.
pub(crate) fn again(path: &Path, shared: bool) -> Result<Option<Guard>, Error> {
    let known = holdings().get(&(path.to_owned(), Caller::current())).cloned();
    let guard = known.and_then(|(hold, how)| Guard::of(&hold.upgrade()?, &how));
    match guard {
        Some(guard) if guard.is_shared() && !shared => Err(Error::usage(format!(
            "cannot acquire {} exclusively: this thread holds it as a reader, and would wait for itself; release it first, or try to upgrade its guard",
            printable(path)
        ))
        .at(path)),
        guard => Ok(guard),
    }
}

/// Remembers a holding that the calling thread or task has acquired.
pub(crate) fn remember(path: &Path, hold: &Arc<Hold>, how: &How) {
    let mut holdings = holdings();
    holdings.retain(|_, (hold, _)| hold.strong_count() > 0);
    holdings.insert((path.to_owned(), Caller::current()), (Arc::downgrade(hold), how.clone()));
}
