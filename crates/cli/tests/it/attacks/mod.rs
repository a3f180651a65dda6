//! Attacks by a second user without races: obstacles, forged entries, floods, malicious names. The attacks
//! by races are with the proofs between real processes.

mod floods;
mod foreign;
mod forged;
mod in_the_way;
mod names;
mod privileges;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::Ran;

/// A user that need not exist. It shares no group with the attacker unless a test says so.
pub(crate) const VICTIM: u32 = 1234;
/// The second user, who need not exist either.
pub(crate) const ATTACKER: u32 = 65_534;
/// How long a verb may take beyond its patience: one second, and another for a busy machine.
const BEYOND: Duration = Duration::from_secs(2);
/// How many times the time of a run that does nothing is allowed beside that: a busy machine also delays each
/// of the many steps of a verb.
const BUSY: u32 = 30;
/// The patience of verbs that wait.
const PATIENCE: Duration = Duration::from_millis(300);
/// The address space that a victim is given, in KiB, including its code and libraries.
const MEMORY: u32 = 64 * 1024;

/// Every verb that takes a name or a folder.
const VERBS: [&[&str]; 13] = [
    &["run", "-w", "300ms", "jobs", "--", "true"],
    &["run", "-n", "jobs", "--", "true"],
    &["acquire", "-w", "300ms", "jobs"],
    &["renew", "jobs", "1-00000000000000000000000007"],
    &["release", "jobs", "1-00000000000000000000000007"],
    &["status", "jobs"],
    &["status", "--json", "jobs"],
    &["is-locked", "jobs"],
    &["break", "jobs"],
    &["break", "--force", "jobs"],
    &["list"],
    &["list", "--json"],
    &["clean"],
];

/// A folder that everybody may write, the program where everybody can run it, and a directory full
/// of the victim's files.
pub(crate) struct Arena {
    folder: tempfile::TempDir,
    place: tempfile::TempDir,
}

/// The observed properties of a thing: kind and mode, owner, links, size, change time, content.
type Seen = (u32, u32, u64, u64, (i64, i64), Vec<u8>);

impl Arena {
    /// Makes a folder like `/tmp`.
    pub(crate) fn sticky() -> Arena {
        Arena::of_mode(0o1777)
    }

    /// Makes a folder in which any user may move anything.
    pub(crate) fn without_sticky() -> Arena {
        Arena::of_mode(0o777)
    }

    fn of_mode(mode: u32) -> Arena {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // The copy is not made by this process: a file that it has open for writing while another test
        // forks cannot be run.
        let copied =
            Command::new("cp").arg(env!("CARGO_BIN_EXE_lockbydir")).arg(place.path()).status();
        assert!(copied.unwrap().success(), "a copy of the program");
        let arena = Arena { folder, place };
        fs::create_dir(arena.path("things")).unwrap();
        fs::write(arena.path("things/letter"), "dear").unwrap();
        fs::create_dir(arena.path("things/empty")).unwrap();
        for (name, mode) in [("things", 0o700), ("things/letter", 0o600), ("things/empty", 0o700)] {
            fs::set_permissions(arena.path(name), fs::Permissions::from_mode(mode)).unwrap();
            arena.give(VICTIM, name);
        }
        arena
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.place.path().join("lockbydir")
    }

    /// Gives a thing to this user, as if this user had made it.
    pub(crate) fn give(&self, user: u32, name: impl AsRef<Path>) {
        lchown(self.folder.path().join(name), Some(user), Some(user)).unwrap();
    }

    /// Makes a directory of the attacker's.
    pub(crate) fn attackers_directory(&self, name: &str, mode: u32) {
        fs::create_dir(self.path(name)).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self.give(ATTACKER, name);
    }

    /// Makes a file of the attacker's, which all may write.
    pub(crate) fn attackers_file(&self, name: impl AsRef<Path>, kind: FileType) {
        let path = self.folder.path().join(&name);
        match kind {
            FileType::Directory => fs::create_dir(&path).unwrap(),
            FileType::Symlink => std::os::unix::fs::symlink(self.path("things"), &path).unwrap(),
            kind => mknodat(CWD, &path, kind, Mode::from_raw_mode(0o666), ZERO).unwrap(),
        }
        if kind != FileType::Symlink {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        }
        self.give(ATTACKER, name);
    }

    /// Returns a `lockbydir` command as this user, in this folder.
    pub(crate) fn command(&self, user: u32, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "60", "sh", "-c"]);
        command.arg(format!("ulimit -v {MEMORY}; exec \"$@\"")).arg("sh").arg(self.program());
        command.args(args).current_dir(self.folder.path()).uid(user).gid(user);
        for name in ["LOCKBYDIR_DIR", "LOCKBYDIR_TIMEOUT", "LOCKBYDIR_PATIENCE"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs `lockbydir` to its end. Asserts that it ends in time and prints nothing that moves a cursor.
    #[track_caller]
    pub(crate) fn run(&self, user: u32, args: &[&str]) -> Ran {
        self.run_within(user, args, PATIENCE + BEYOND)
    }

    #[track_caller]
    pub(crate) fn run_within(&self, user: u32, args: &[&str], most: Duration) -> Ran {
        let begun = Instant::now();
        let ran = Ran::of(self.command(user, args).output().expect("lockbydir runs"));
        let took = begun.elapsed();
        assert!(
            took < most || took < most + BUSY * self.shortest_run(user),
            "{args:?} took {took:?}: {ran:?}"
        );
        assert!((0..=77).contains(&ran.code), "{args:?}: {ran:?}");
        for text in [&ran.out, &ran.err] {
            assert!(text.chars().all(is_harmless), "{args:?} prints {text:?}");
        }
        ran
    }

    /// Returns how long the program takes now to do nothing, which shows how busy the machine is.
    fn shortest_run(&self, user: u32) -> Duration {
        let begun = Instant::now();
        let output = self.command(user, &["--version"]).output().expect("lockbydir runs");
        assert!(output.status.success(), "{output:?}");
        begun.elapsed()
    }

    /// Runs every verb as this user; with the options `more` for the verbs that have them.
    #[track_caller]
    pub(crate) fn run_every_verb(&self, user: u32, more: &[&str]) -> Vec<(&'static str, Ran)> {
        let run_one = |verb: &&'static [&'static str]| {
            let mut args = verb.to_vec();
            if matches!(verb[0], "run" | "acquire" | "break") {
                args.splice(1..1, more.iter().copied());
            }
            (verb[0], self.run(user, &args))
        };
        VERBS.iter().map(run_one).collect()
    }

    /// Returns the properties of all things in the folder, without the folder itself.
    pub(crate) fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        let mut found = BTreeMap::new();
        look_below(self.folder.path(), Path::new(""), &mut found);
        found
    }
}

/// The number of the device `/dev/zero`, which can be read without end.
const ZERO: u64 = (1 << 8) | 5;

fn is_harmless(c: char) -> bool {
    matches!(c, '\n' | ' '..='~') || c.is_alphanumeric()
}

fn look_below(folder: &Path, path: &Path, found: &mut BTreeMap<PathBuf, Seen>) {
    for entry in fs::read_dir(folder.join(path)).unwrap() {
        let path = path.join(entry.unwrap().file_name());
        let stat = fs::symlink_metadata(folder.join(&path)).unwrap();
        if stat.is_dir() {
            look_below(folder, &path, found);
        }
        let is_small = stat.is_file() && stat.size() < 1000;
        let content = if is_small { fs::read(folder.join(&path)).unwrap() } else { Vec::new() };
        let changed = (stat.mtime(), stat.mtime_nsec());
        found.insert(path, (stat.mode(), stat.uid(), stat.nlink(), stat.size(), changed, content));
    }
}

/// Returns the name of an entry: state, token, nonce, timeout and stamp in milliseconds, and owner.
pub(crate) fn entry(state: &str, token: u64, timeout: u64, stamp: u64, owner: &str) -> String {
    let origin = origin();
    format!(
        "v1.{state}.p.{token}.0000000000000000000000000b.0.{timeout}.{stamp}.{origin}.{owner}.forged.-"
    )
}

/// Returns the name of a ticket.
pub(crate) fn ticket(order: u64, nth: usize) -> String {
    format!("t1.{order}.{nth:026}.5.{}.1-1.forged.-", origin())
}

/// Returns boot and namespaces of this process, as in names of entries.
fn origin() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let space = |kind: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let number: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        number.parse::<u32>().unwrap()
    };
    format!("{boot}.{:08x}.{:08x}", space("time"), space("pid"))
}

/// Returns the time of the boot clock, in milliseconds.
pub(crate) fn boot_clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap()
}
