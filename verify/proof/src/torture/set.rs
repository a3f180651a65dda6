//! A set that only the lock guards: the holder reads all of it, adds an element, and writes all of it
//! back. A late writer undoes what others have added meanwhile.
//!
//! Each element whose write was reported done counts as promised, and is looked for at the end.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::store::Store;

/// What a writer does against late writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Care {
    /// Nothing.
    None,
    /// It asks right before it writes whether it still holds.
    Asks,
    /// It shows its number when it reads, and when it writes; the store refuses smaller ones than
    /// it has seen. Shown at the writing alone, an old number could still come between another's
    /// reading and writing.
    Tokens,
}

/// One process's handle on the set.
#[derive(Debug)]
pub struct Set {
    file: PathBuf,
    /// The file that is written before it is renamed into place.
    draft: PathBuf,
    tokens: Option<Store>,
}

impl Set {
    /// Opens the set, for a writer of this name.
    ///
    /// # Errors
    /// If the store of the numbers cannot be opened.
    pub fn open(file: &Path, care: Care, writer: &str) -> io::Result<Self> {
        let tokens = match care {
            Care::Tokens => Some(Store::open(&file.with_extension("tokens"))?),
            Care::None | Care::Asks => None,
        };
        Ok(Self { file: file.to_owned(), draft: file.with_extension(writer), tokens })
    }

    /// Reads all of it; returns `None` if the number was refused.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read(&self, token: u64) -> io::Result<Option<String>> {
        self.admitted(token, || match fs::read_to_string(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        })
    }

    /// Writes all of it; returns `None` if the number was refused.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, token: u64, all: &str) -> io::Result<Option<()>> {
        fs::write(&self.draft, all)?;
        self.admitted(token, || fs::rename(&self.draft, &self.file))
    }

    fn admitted<T>(
        &self,
        token: u64,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        match &self.tokens {
            Some(tokens) => tokens.admit(token, act),
            None => act().map(Some),
        }
    }
}

/// The state of the elements at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The number of elements whose writes were reported done.
    pub promised: usize,
    /// The number of those that are not in the set.
    pub lost: usize,
}

impl Kept {
    /// Compares the contents of the set with the promised elements.
    #[must_use]
    pub fn of(promised: &[String], all: &str) -> Self {
        let kept: BTreeSet<&str> = all.lines().collect();
        let lost = promised.iter().filter(|element| !kept.contains(element.as_str()));
        Self { promised: promised.len(), lost: lost.count() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Care, Kept, Set};

    fn two(care: Care) -> (tempfile::TempDir, Set, Set) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("set");
        let [one, other] = ["one", "other"].map(|name| Set::open(&file, care, name).expect("set"));
        (folder, one, other)
    }

    #[test]
    fn late_writers_undo_additions_unless_numbers_are_checked() {
        for (care, lost) in [(Care::None, 1), (Care::Tokens, 0)] {
            let (_folder, one, other) = two(care);
            let late = one.read(1).expect("a set").expect("it is the first");
            let all = other.read(2).expect("a set").expect("it is larger");
            assert_eq!(other.write(2, &format!("{all}b\n")).expect("a set"), Some(()));

            let done = one.write(1, &format!("{late}a\n")).expect("a set").is_some();

            let mut promised = vec!["b".to_owned()];
            promised.extend(done.then(|| "a".to_owned()));
            let all = other.read(2).expect("a set").expect("it is the largest");
            assert_eq!(Kept::of(&promised, &all).lost, lost, "{care:?}");
        }
    }

    #[test]
    fn old_numbers_cannot_write_between_a_read_and_its_write() {
        let (_folder, one, other) = two(Care::Tokens);
        let late = one.read(1).expect("a set").expect("it is the first");
        assert!(other.read(2).expect("a set").is_some());

        assert_eq!(one.write(1, &format!("{late}a\n")).expect("a set"), None);
        assert_eq!(one.read(1).expect("a set"), None);
    }
}
