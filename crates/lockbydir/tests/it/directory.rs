//! The contract of engines, run on lock directories.

use std::time::Duration;

use crate::contract::{World, contract};
use crate::{assert_empty, entry, ms};

struct Folder(tempfile::TempDir);

impl World for Folder {
    const SHORTEST: Duration = ms(150);
    const SEES_DEATH: bool = true;

    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn folder(&self) -> String {
        self.0.path().to_str().unwrap().to_owned()
    }

    #[cfg(windows)]
    fn folder_of_another_process(&self) -> String {
        // The case of letters is kept in an absolute path, and both paths lead to the same folder.
        self.folder().to_uppercase()
    }

    #[cfg(unix)]
    fn folder_of_another_process(&self) -> String {
        // The detour is kept in an absolute path.
        self.folder() + "/../" + self.0.path().file_name().unwrap().to_str().unwrap()
    }

    /// Removes the directory of a fenced lock first, which is kept on purpose.
    fn assert_clean(&self) {
        let directory = self.0.path().join("jobs.lockdir");
        if directory.exists() && entry(self.0.path()).starts_with("v1.open.f.") {
            std::fs::remove_dir_all(directory).unwrap();
        }
        assert_empty(self.0.path());
    }
}

contract! { Folder }
