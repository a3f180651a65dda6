//! What is known about a folder without any probe: its file system, how it is mounted, and who may
//! move its entries.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Grade};
use crate::os::{self, FileOwner, Mount};

/// The file system of a folder, as the system describes it.
///
/// ```
/// let here = lockbydir::doctor::FileSystem::of(".");
/// assert!(!here.kind.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// Its type, as `mount` calls it: `ext4`, `nfs4`, `fuse.sshfs`; or `unknown`.
    pub kind: String,
    /// Its source: a device, or a server's folder.
    pub source: String,
    /// How it is mounted.
    pub options: String,
    /// Whether one kernel alone owns it, for certain.
    pub is_local: bool,
}

impl FileSystem {
    /// Returns the file system of this folder.
    pub fn of(folder: impl AsRef<Path>) -> FileSystem {
        let folder = folder.as_ref();
        let is_local = os::is_local(folder);
        match os::mount_of(folder) {
            Some(Mount { kind, source, options }) => FileSystem { kind, source, options, is_local },
            None => FileSystem { kind: "unknown".into(), is_local, ..Default::default() },
        }
    }

    fn has(&self, option: &str) -> bool {
        self.options
            .split(',')
            .any(|found| found == option || found.starts_with(option) && option.ends_with('='))
    }

    fn is_nfs(&self) -> bool {
        matches!(&*self.kind, "nfs" | "nfs4")
    }

    pub(super) fn findings(&self, dir: &Path) -> Vec<Finding> {
        let mut found = vec![self.ownership()];
        found.extend(self.mounted());
        found.push(folders(dir));
        found
    }

    /// Reports whether this kernel alone owns it, or several.
    fn ownership(&self) -> Finding {
        let seen = match &*self.source {
            "" => self.kind.clone(),
            source => format!("{} of {}", self.kind, crate::status::printable(source)),
        };
        let (grade, seen, meaning) = if self.is_local {
            (
                Grade::Good,
                format!("{seen}: this kernel's alone"),
                "A dead holder is replaced at once, also after a reboot.",
            )
        } else if self.is_nfs() {
            (
                Grade::Remark,
                format!("{seen}: shared by hosts"),
                "Another host's lock is free when it has expired, not when its holder dies. Export \
                 it `sync`: after a power cut of an `async` server two may hold, and nobody can \
                 see from here which it is.",
            )
        } else {
            (
                Grade::Remark,
                format!("{seen}: may be shared by hosts"),
                "Another host's lock is free when it has expired, not when its holder dies.",
            )
        };
        Finding::new(grade, "file-system", "its file system", seen, meaning)
    }

    /// Reports mount options that affect locks.
    fn mounted(&self) -> Option<Finding> {
        const FLOCK: &str = "flock may be seen on one host only; a lock of ours needs none.";
        let known = [
            (
                "soft",
                "A call may fail that was done: the lock looks before it believes, but \
                      holders may lose it early. Mount it `hard`.",
            ),
            (
                "softerr",
                "A call may fail that was done: the lock looks before it believes, but \
                         holders may lose it early. Mount it `hard`.",
            ),
            ("nolock", FLOCK),
            ("local_lock=", FLOCK),
            (
                "cache=loose",
                "Changes by others are seen late or never. Mount it with another cache.",
            ),
            (
                "cache=fscache",
                "Changes by others are seen late or never. Mount it with another cache.",
            ),
            ("nobrl", FLOCK),
        ];
        let harmless = self.has("local_lock=none");
        let tried = "how it is mounted";
        if self.kind == "fuse.sshfs" {
            // The kernel does not report the options of sshfs itself.
            let seen = "sshfs: it may keep listings for 20 s, and does unless configured otherwise";
            let meaning = "A release by another host, or by another mount of the same folder, is \
                           then seen 20 s late, and `listing` does not try that: both look through \
                           one mount. Mount it with `-o dir_cache=no,entry_timeout=0,\
                           attr_timeout=0` (before sshfs 3: `-o cache=no`).";
            return Some(Finding::new(Grade::Remark, "options", tried, seen, meaning));
        }
        let found: Vec<_> = known
            .iter()
            .filter(|(option, _)| self.has(option) && !(harmless && *option == "local_lock="))
            .collect();
        if found.is_empty() {
            return None;
        }
        let seen: Vec<&str> =
            found.iter().map(|(option, _)| option.trim_end_matches('=')).collect();
        let mut meaning: Vec<&str> = found.iter().map(|(_, meaning)| *meaning).collect();
        meaning.dedup();
        Some(Finding::new(Grade::Remark, "options", tried, seen.join(", "), meaning.join(" ")))
    }
}

/// Reports who may move the entries of this folder, or of one above it.
fn folders(dir: &Path) -> Finding {
    let tried = "who may move entries";
    let found =
        |grade, seen: String, meaning: &str| Finding::new(grade, "folder", tried, seen, meaning);
    let whole = std::fs::canonicalize(dir).unwrap_or_else(|_| PathBuf::from(dir));
    for folder in whole.ancestors() {
        let at = if folder == whole { "it".into() } else { crate::status::printable(folder) };
        let Ok(trust) = os::trust(folder) else { continue };
        if trust.is_world_writable_without_sticky {
            let mode = trust.mode.unwrap_or_default();
            return found(
                Grade::Remark,
                format!("{at} has mode {mode:o}: everybody may"),
                "Any user can move a lock away and back, which makes two holders possible. Set the sticky \
                 bit: chmod +t.",
            );
        }
        if let FileOwner::Strangers(user) = trust.owner {
            return found(
                Grade::Remark,
                format!("{at} belongs to user {user}"),
                "That user can move a lock away and back, which makes two holders possible.",
            );
        }
    }
    match os::trust(&whole) {
        Ok(os::Trust { mode: Some(mode), .. }) if mode & 0o022 != 0 => found(
            Grade::Good,
            format!("mode {mode:o}"),
            "Others may lock there too; only an entry's owner can move it.",
        ),
        _ => found(Grade::Good, "we and root".into(), "Nobody else can move a lock."),
    }
}

impl Mount {
    /// Returns the mount that a path is on, among these lines of `mountinfo`.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there are no such lines"))]
    pub(crate) fn among(mounts: &str, path: &[u8]) -> Option<Mount> {
        let text = |bytes: &str| String::from_utf8_lossy(&unescaped(bytes)).into_owned();
        mounts
            .lines()
            .filter_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                let point = unescaped(before.split(' ').nth(4)?);
                let own = before.split(' ').nth(5)?;
                let mut words = after.split(' ');
                let (kind, source) = (words.next()?, words.next()?);
                let options = words.next().unwrap_or_default();
                let rest = path.strip_prefix(point.strip_suffix(b"/").unwrap_or(&point))?;
                let mut all: Vec<&str> = own.split(',').collect();
                all.extend(
                    options.split(',').filter(|option| !own.split(',').any(|o| o == *option)),
                );
                let options = all.join(",");
                (rest.is_empty() || rest.starts_with(b"/"))
                    .then(|| (point.len(), [text(kind), text(source), options]))
            })
            // The last mount on a path hides the ones below it.
            .max_by_key(|(length, _)| *length)
            .map(|(_, [kind, source, options])| Mount { kind, source, options })
    }
}

/// Decodes `\040` and the like to bytes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
        22 21 0:30 / /mnt/two\\040words rw - nfs4 web:/x rw,vers=4.2,soft,local_lock=none\n\
        23 21 0:31 / /mnt ro - tmpfs tmpfs rw\n\
        24 22 0:32 / /mnt/two\\040words rw,noexec - fuse.sshfs web:/y rw\n";

    #[test]
    fn the_mount_of_a_path_is_the_deepest_and_the_last() {
        let kind = |path: &str| Mount::among(MOUNTS, path.as_bytes()).unwrap().kind;

        assert_eq!(kind("/home"), "ext4");
        assert_eq!(kind("/mnt/two"), "tmpfs");
        assert_eq!(kind("/mnt/two words"), "fuse.sshfs");
        assert_eq!(kind("/mnt/two words/x"), "fuse.sshfs");
    }

    #[test]
    fn a_mount_point_is_read_with_its_spaces() {
        assert_eq!(unescaped(r"/a\040b\134c"), b"/a b\\c");
        assert_eq!(unescaped(r"/end\04"), br"/end\04");
    }

    #[test]
    fn a_soft_mount_is_remarked_and_a_harmless_option_is_not() {
        let mounted = |options: &str| {
            let options = options.to_owned();
            FileSystem { kind: "nfs4".into(), options, ..FileSystem::default() }.mounted()
        };

        assert_eq!(mounted("rw,soft,local_lock=none").unwrap().seen, "soft");
        assert_eq!(mounted("rw,nolock,local_lock=all").unwrap().seen, "nolock, local_lock");
        assert_eq!(mounted("rw,hard,softly"), None);
    }

    #[test]
    fn the_cache_of_sshfs_is_remarked_with_its_option() {
        let mounted = FileSystem { kind: "fuse.sshfs".into(), ..FileSystem::default() }.mounted();

        let remark = mounted.expect("a remark");
        assert_eq!(remark.grade, Grade::Remark);
        assert!(remark.meaning.contains("`-o dir_cache=no,"), "{remark:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn proc_is_found_to_be_proc() {
        assert_eq!(FileSystem::of("/proc/self").kind, "proc");
    }
}
