//! The contract, on lock directories.

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
        // Letters of another case stay in an absolute path, and are the same folder.
        self.folder().to_uppercase()
    }

    #[cfg(unix)]
    fn folder_of_another_process(&self) -> String {
        // The detour stays in an absolute path.
        self.folder() + "/../" + self.0.path().file_name().unwrap().to_str().unwrap()
    }

    /// A fenced lock keeps its directory on purpose.
    fn assert_clean(&self) {
        let directory = self.0.path().join("jobs.lockdir");
        if directory.exists() && entry(self.0.path()).starts_with("v1.open.f.") {
            std::fs::remove_dir_all(directory).unwrap();
        }
        assert_empty(self.0.path());
    }
}

contract! { Folder }
