//! A store that checks tokens: it keeps the largest it has seen, and refuses smaller ones.
//!
//! It is one file of eight bytes, guarded by `flock(2)`, a lock of a different kind: the store must not
//! depend on the lock that it checks.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::clock;

/// One process's handle on the store.
#[derive(Debug)]
pub struct Store(File);

/// The answer of the store, and its time: moments are in the order of the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The time by [`clock::now`], taken while no other process could write.
    pub moment: u64,
    /// False if a larger token has written before.
    pub accepted: bool,
}

impl Store {
    /// Opens the store, and makes it if there is none.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(path).map(Self)
    }

    /// Writes with this token.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, token: u64) -> io::Result<Answer> {
        flock(&self.0, FlockOperation::LockExclusive)?;
        let accepted = self.is_accepted(token)?;
        let moment = clock::now();
        flock(&self.0, FlockOperation::Unlock)?;
        Ok(Answer { moment, accepted })
    }

    /// Calls `act` with this token while no other process can write; returns `None` if a larger token was
    /// here before.
    ///
    /// # Errors
    /// Those of the file, and of `act`.
    pub fn admit<T>(
        &self,
        token: u64,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        flock(&self.0, FlockOperation::LockExclusive)?;
        let done = match self.is_accepted(token) {
            Ok(true) => act().map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        flock(&self.0, FlockOperation::Unlock)?;
        done
    }

    fn is_accepted(&self, token: u64) -> io::Result<bool> {
        let mut largest = [0; 8];
        let known = self.0.read_at(&mut largest, 0)?;
        let accepted = known < largest.len() || token >= u64::from_le_bytes(largest);
        if accepted {
            self.0.write_all_at(&token.to_le_bytes(), 0)?;
        }
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::Store;

    #[test]
    fn tokens_smaller_than_the_largest_written_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, other] =
            [0, 0].map(|_| Store::open(&folder.path().join("store")).expect("the store"));

        let accepted = [(&one, 5), (&other, 7), (&one, 5), (&one, 7), (&other, 6), (&one, 8)]
            .map(|(store, token)| store.write(token).expect("an answer").accepted);

        assert_eq!(accepted, [true, true, false, true, false, true]);
    }
}
