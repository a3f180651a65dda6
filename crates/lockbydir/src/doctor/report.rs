//! What the doctor says: findings, grades, the verdict; and how they are written for another host to
//! read. Nothing is tried here.

use std::fmt;
use std::path::PathBuf;

use super::FileSystem;
use crate::status::printable;

/// What became of one thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What programs call it; stays the same.
    pub name: String,
    /// What was tried.
    pub tried: String,
    /// What was seen.
    pub seen: String,
    /// What it means for a lock.
    pub meaning: String,
    /// How bad it is.
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

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Grade {
    /// As a lock wants it.
    Good,
    /// It could not be tried, or is not on this system.
    Untried,
    /// A lock is safe, but one should know.
    Remark,
    /// Two could hold a lock at once, or nobody ever again.
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

/// Who the other one was, where two are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Other {
    /// A thread of the same process.
    Thread,
    /// A process on this host.
    Process,
    /// A process on another host.
    Host,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Other::Thread => "thread",
            Other::Process => "process",
            Other::Host => "host",
        })
    }
}

/// Is it safe to lock there?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing speaks against it.
    Safe,
    /// It is safe, and there are things that one should know.
    SafeWithRemarks,
    /// Do not lock there.
    NotSafe,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Safe => "safe",
            Verdict::SafeWithRemarks => "safe with remarks",
            Verdict::NotSafe => "not safe",
        })
    }
}

/// What was found in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The folder, as it was named.
    pub dir: PathBuf,
    /// Its file system.
    pub file_system: FileSystem,
    /// Who the other one was.
    pub other: Other,
    /// One after the other.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What all findings come to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.findings.iter().map(|finding| finding.grade).max() {
            None | Some(Grade::Good | Grade::Untried) => Verdict::Safe,
            Some(Grade::Remark) => Verdict::SafeWithRemarks,
            Some(Grade::Fatal) => Verdict::NotSafe,
        }
    }
}

/// The findings as lines, for another host.
pub(super) fn written(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let Finding { name, tried, seen, meaning, grade } = finding;
        let plain = |text: &str| text.replace(['\t', '\n'], " ");
        [name, tried, seen, meaning, &grade.to_string()].map(|cell| plain(cell)).join("\t")
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What [`written`] has written.
pub(super) fn read(text: &str) -> Option<Vec<Finding>> {
    let finding = |line: &str| {
        let cells: [&str; 5] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let all = [Grade::Good, Grade::Untried, Grade::Remark, Grade::Fatal];
        let grade = all.into_iter().find(|grade| grade.to_string() == cells[4])?;
        // Another host's words: nothing in them moves a cursor.
        let [name, tried, seen, meaning] = [0, 1, 2, 3].map(|at| printable(cells[at]));
        Some(Finding { name, tried, seen, meaning, grade })
    };
    text.lines().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read_as_they_were_written() {
        let all = [Grade::Good, Grade::Untried, Grade::Remark, Grade::Fatal];
        let findings = all.map(|grade| Finding::new(grade, "one", "tried it", "it was", "well"));

        assert_eq!(read(&written(&findings)), Some(findings.to_vec()));
        assert_eq!(read("not\ta\treport"), None);
    }

    #[test]
    fn the_worst_finding_is_the_verdict() {
        let report = |grades: &[Grade]| Report {
            dir: PathBuf::new(),
            file_system: FileSystem::default(),
            other: Other::Thread,
            findings: grades.iter().map(|grade| Finding::new(*grade, "", "", "", "")).collect(),
        };

        assert_eq!(report(&[Grade::Good, Grade::Untried]).verdict(), Verdict::Safe);
        assert_eq!(report(&[Grade::Remark, Grade::Good]).verdict(), Verdict::SafeWithRemarks);
        assert_eq!(report(&[Grade::Fatal, Grade::Remark]).verdict(), Verdict::NotSafe);
    }
}
