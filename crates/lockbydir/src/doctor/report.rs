//! The doctor's report: findings, grades and the verdict, and their text form for another host.
//! Runs no probe.

use std::fmt;
use std::path::PathBuf;

use super::file_system::FileSystem;
use super::finding::{Finding, Grade};
use crate::status::printable;

/// The kind of peer, for probes that need two processes.
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

/// Whether it is safe to lock in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing speaks against it.
    Safe,
    /// It is safe, but there are things that users should know.
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

/// The result of examining one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The folder, as it was given.
    pub dir: PathBuf,
    /// Its file system.
    pub file_system: FileSystem,
    /// The kind of peer.
    pub other: Other,
    /// The findings, in order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns the verdict that follows from all findings.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.findings.iter().map(|finding| finding.grade).max() {
            None | Some(Grade::Good | Grade::Untried) => Verdict::Safe,
            Some(Grade::Remark) => Verdict::SafeWithRemarks,
            Some(Grade::Fatal) => Verdict::NotSafe,
        }
    }
}

/// Encodes the findings as lines of text, for another host.
pub(super) fn encode(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let Finding { name, tried, seen, meaning, grade } = finding;
        let plain = |text: &str| text.replace(['\t', '\n'], " ");
        [name, tried, seen, meaning, &grade.to_string()].map(|cell| plain(cell)).join("\t")
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Decodes what [`encode`] has encoded.
pub(super) fn decode(text: &str) -> Option<Vec<Finding>> {
    let finding = |line: &str| {
        let cells: [&str; 5] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let all = [Grade::Good, Grade::Untried, Grade::Remark, Grade::Fatal];
        let grade = all.into_iter().find(|grade| grade.to_string() == cells[4])?;
        // Text from another host: it must not move a cursor.
        let [name, tried, seen, meaning] = [0, 1, 2, 3].map(|at| printable(cells[at]));
        Some(Finding { name, tried, seen, meaning, grade })
    };
    text.lines().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_survive_encoding() {
        let all = [Grade::Good, Grade::Untried, Grade::Remark, Grade::Fatal];
        let findings = all.map(|grade| Finding::new(grade, "one", "tried it", "it was", "well"));

        assert_eq!(decode(&encode(&findings)), Some(findings.to_vec()));
        assert_eq!(decode("not\ta\treport"), None);
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
