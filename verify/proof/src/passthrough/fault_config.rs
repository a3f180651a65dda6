//! How the file system misbehaves: what it lacks, which false answers it gives, how it reads names and stamps
//! files. The implementation is elsewhere.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use fuser::FileAttr;

use crate::durations;

/// How the file system behaves; well, unless it is configured otherwise.
#[derive(Args, Clone, Debug, Default)]
pub struct FaultConfig {
    /// What it lacks, separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_enum)]
    pub lack: Vec<Lack>,
    /// The false answers that it gives, separated by commas
    #[arg(long, value_name = "LIES", value_delimiter = ',', value_enum)]
    pub lies: Vec<Lie>,
    /// Names that differ only by case are one
    #[arg(long)]
    pub case_insensitive: bool,
    /// All stamps of files are so many seconds ahead of the clock here (behind it: -3600)
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_hyphen_values = true)]
    pub clock: i64,
    /// All stamps of files are rounded down to multiples of this, such as 2s
    #[arg(long, value_name = "DUR", value_parser = durations::duration)]
    pub granularity: Option<Duration>,
    /// Names have at most so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 255)]
    pub longest_name: u32,
}

/// What a file system may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lack {
    /// The rename that refuses to replace: it answers EINVAL
    NoReplace,
    /// flock(2): it answers ENOLCK
    Flock,
    /// Named pipes: making one answers EPERM
    NamedPipes,
}

/// What a file system may say or do that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lie {
    /// A file that was renamed is still found by its old name, and a second rename of that name
    /// says done; a listing shows the truth
    RenameTwice,
    /// A rename replaces a directory that is not empty
    ReplaceFull,
    /// The same three times of four, not the first time: as a union of two folders replaces it that
    /// makes directories in either
    ReplaceFullAtTimes,
    /// rmdir(2) removes a directory that is not empty
    RmdirFull,
    /// A listing may be 3 seconds old
    StaleList,
    /// statfs(2) says that names may have 255 bytes, whatever they may have
    LongNames,
}

impl FaultConfig {
    pub(super) fn lacks(&self, what: Lack) -> bool {
        self.lack.contains(&what)
    }

    pub(super) fn has_lie(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    pub(super) fn reported_longest_name(&self) -> u32 {
        if self.has_lie(Lie::LongNames) { 255 } else { self.longest_name }
    }

    /// Returns the attributes of a file as users see them.
    pub(super) fn shown(&self, true_attributes: FileAttr) -> FileAttr {
        FileAttr {
            atime: self.stamp(true_attributes.atime),
            mtime: self.stamp(true_attributes.mtime),
            ctime: self.stamp(true_attributes.ctime),
            ..true_attributes
        }
    }

    fn stamp(&self, time: SystemTime) -> SystemTime {
        let shifted = later(time, self.clock);
        match (self.granularity, shifted.duration_since(SystemTime::UNIX_EPOCH)) {
            (Some(granularity), Ok(since)) if !granularity.is_zero() => {
                let over = since.as_nanos() % granularity.as_nanos();
                shifted - Duration::from_nanos(u64::try_from(over).unwrap_or(0))
            }
            _ => shifted,
        }
    }

    /// Returns the true time of a stamp that users should see.
    pub(super) fn true_time(&self, stamp: SystemTime) -> SystemTime {
        later(stamp, -self.clock)
    }
}

fn later(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds >= 0 { time + by } else { time - by }
}
