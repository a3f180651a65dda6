//! What `run` asks of Linux alone.

use std::{fs, io};

use rustix::process::{Signal, getpid, set_child_subreaper, set_parent_process_death_signal};

/// What the command leaves behind becomes ours, so that it can be found and ended.
pub(super) fn adopt_orphans() {
    let _ = set_child_subreaper(Some(getpid()));
}

/// Asked in the command's process before it is the command: between fork and exec.
pub(super) fn die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// The signals that this process ignores, as a bit mask.
pub(super) fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// All living processes, each with its parent.
pub(super) fn parents() -> Vec<(i32, i32)> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(entry.path().join("stat")).ok()?;
            let close = stat.iter().rposition(|&byte| byte == b')')?;
            let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
            let mut fields = rest.split_ascii_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            (state != "Z").then_some((pid, parent))
        })
        .collect()
}
