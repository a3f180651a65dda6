//! One finding of the doctor, and how serious it is.

use std::fmt;

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The name for programs; it never changes.
    pub name: String,
    /// What was tried.
    pub tried: String,
    /// What was observed.
    pub seen: String,
    /// The consequence for a lock.
    pub meaning: String,
    /// How serious it is.
    pub grade: Grade,
}

impl Finding {
    pub(super) fn new(
        grade: Grade,
        name: &str,
        tried: &str,
        seen: impl Into<String>,
        meaning: impl Into<String>,
    ) -> Finding {
        let (name, tried) = (name.to_owned(), tried.to_owned());
        Finding { name, tried, seen: seen.into(), meaning: meaning.into(), grade }
    }
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Grade {
    /// As a lock needs it.
    Good,
    /// It could not be tried, or does not exist on this system.
    Untried,
    /// A lock is safe, but users should know this.
    Remark,
    /// Two processes could hold a lock at once, or no process ever again.
    Fatal,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Grade::Good => "good",
            Grade::Untried => "untried",
            Grade::Remark => "remark",
            Grade::Fatal => "fatal",
        })
    }
}
