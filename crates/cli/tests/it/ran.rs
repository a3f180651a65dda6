//! The result of a finished program. Other tests that run `lockbydir` include this file.

use std::process::Output;

/// The result of a finished process.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that it ended with this code and these words on stderr, without control characters.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(words), "no `{words}` in {self:?}");
        assert!(self.err.chars().all(|c| c == '\n' || !c.is_control()), "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}
