//! Attacks that are races: another user, in a folder that both can write to, repeats one hostile action as
//! fast as possible while victims lock there. Attacks without a race are tested with the program.
//!
//! A quick run takes a second or two per test; `LOCKBYDIR_ATTACK_SECONDS=30` sets the length.

mod nonces;
mod pipes;
mod privileges;
mod swaps;
mod walks;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use lockbydir_proof::{history::Record, torture::worker::Orders};

use crate::stage::{Stage, TORTURE, WORKER};

/// The users of the attacks. They need not exist, and share no group.
const VICTIM: u32 = 1234;
const ATTACKER: u32 = 65_534;

/// Returns the length of one of `attacks` attacks of a test.
fn one_of(attacks: u32) -> Duration {
    let seconds = std::env::var("LOCKBYDIR_ATTACK_SECONDS");
    let all = seconds.map_or(1, |text| text.parse().expect("a number of seconds"));
    (Duration::from_secs(all) / attacks).max(SHORTEST)
}

/// The shortest useful attack: shorter ones would detect nothing.
const SHORTEST: Duration = Duration::from_millis(250);

/// A folder that everybody may write to, in which the victim has a directory full of its own files.
struct Ground {
    stage: Stage,
    programs: tempfile::TempDir,
    before: BTreeMap<PathBuf, Seen>,
    precious: fs::File,
}

/// Everything that must not change in a file of the victim.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind_and_mode: u32,
    owner: u32,
    size: u64,
    changed: (i64, i64),
    content: Vec<u8>,
}

fn look_at(folder: &Path, found: &mut BTreeMap<PathBuf, Seen>) {
    for file in fs::read_dir(folder).expect("the victim's own") {
        let path = file.expect("an entry").path();
        let stat = fs::symlink_metadata(&path).expect("a file");
        if stat.is_dir() {
            look_at(&path, found);
        }
        let content = if stat.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
        let seen = Seen {
            kind_and_mode: stat.mode(),
            owner: stat.uid(),
            size: if stat.is_dir() { 0 } else { stat.size() },
            changed: (stat.mtime(), stat.mtime_nsec()),
            content,
        };
        found.insert(path.components().skip(5).collect(), seen);
    }
}

impl Ground {
    /// Makes a folder of this mode. `0o1777` is like `/tmp`; without the sticky bit anybody may move anything
    /// there.
    fn of_mode(mode: u32) -> Self {
        let stage = Stage::on_tmpfs();
        fs::set_permissions(stage.folder(), fs::Permissions::from_mode(mode)).expect("a mode");
        let programs = tempfile::tempdir().expect("a place for the programs");
        fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        for program in [WORKER, TORTURE, env!("CARGO_BIN_EXE_lockbydir-attacker")] {
            let name = Path::new(program).file_name().expect("a name");
            // Not copied by this process: a program that another test starts meanwhile would have it open for
            // writing, and then it could not be executed.
            let copied = Command::new("cp").arg(program).arg(programs.path().join(name)).status();
            assert!(copied.expect("cp").success(), "a copy of a program");
        }
        let things = stage.path("things");
        fs::create_dir_all(things.join("inner/empty")).expect("the victim's things");
        for (name, content) in [("letter", "dear"), ("inner/will", "all to you"), ("bell", "dong")]
        {
            fs::write(things.join(name), content).expect("a thing");
        }
        for name in ["", "letter", "bell", "inner", "inner/will", "inner/empty"] {
            let path = things.join(name);
            chown(&path, Some(VICTIM), Some(VICTIM)).expect("root may give away");
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        }
        let precious = fs::File::open(&things).expect("the victim's things");
        let mut ground = Self { stage, programs, before: BTreeMap::new(), precious };
        ground.before = ground.seen();
        ground
    }

    /// Makes a folder like `/tmp`.
    fn sticky() -> Self {
        Self::of_mode(0o1777)
    }

    /// Makes a folder in which anybody may move anything.
    fn non_sticky() -> Self {
        Self::of_mode(0o777)
    }

    /// Returns the victim's files, wherever an attacker has moved them.
    fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        use std::os::fd::AsRawFd;

        let mut found = BTreeMap::new();
        look_at(Path::new(&format!("/proc/self/fd/{}", self.precious.as_raw_fd())), &mut found);
        let stat = self.precious.metadata().expect("they are there");
        let seen = Seen {
            kind_and_mode: stat.mode(),
            owner: stat.uid(),
            size: 0,
            changed: (stat.mtime(), stat.mtime_nsec()),
            content: Vec::new(),
        };
        found.insert("things".into(), seen);
        found
    }

    fn assert_untouched(&self) {
        assert_eq!(self.seen(), self.before, "the victim's things");
    }

    /// The same for a test in which the victim's own directory was in the place of a queue for a moment:
    /// named pipes may have been made and removed in it, or be left.
    fn assert_untouched_but_for_pipes(&self) {
        let is_pipe = |seen: &Seen| seen.kind_and_mode & 0o170_000 == 0o010_000;
        let mut seen = self.seen();
        seen.retain(|path, seen| self.before.contains_key(path) || !is_pipe(seen));
        let (before, things) = (&self.before[Path::new("things")], Path::new("things"));
        seen.get_mut(things).expect("the things").changed = before.changed;
        assert_eq!(&seen, &self.before, "the victim's things");
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.programs.path().join(name))
    }

    /// Starts an attacker with its own user.
    fn attacker(&self, action: &[&str]) -> Attacker {
        let mut command = self.program("lockbydir-attacker");
        command.args(action).current_dir(self.stage.folder()).uid(ATTACKER).gid(ATTACKER);
        Attacker::start(command)
    }

    /// Starts two victims that lock again and again as `user`, for this time.
    fn victims(&self, user: u32, time: Duration, options: &[&str]) -> Vec<Victim> {
        let store = self.programs.path().join("store");
        fs::write(&store, "").expect("a store");
        fs::set_permissions(&store, fs::Permissions::from_mode(0o666)).expect("a mode");
        ["one", "other"]
            .map(|name| {
                let lock = self.stage.path("contended");
                let time_ms = u64::try_from(time.as_millis()).ok();
                let orders = Orders { time_ms, ..Orders::new(name, lock, store.clone()) };
                let mut orders = serde_json::to_value(orders).expect("JSON");
                for option in options {
                    let (key, number) = option.split_once('=').expect("OPTION=NUMBER");
                    let number: u64 = number.parse().expect("OPTION=NUMBER");
                    match key {
                        "hold_us" => orders["hold_ns"] = (number * 1_000).into(),
                        "renewing" => orders[key] = (number > 0).into(),
                        _ => orders[key] = number.into(),
                    }
                }
                let history = self.programs.path().join(name);
                let output = fs::File::create(&history).expect("a place for a history");
                let mut command = self.program("lockbydir-torture");
                command.arg("worker").arg(orders.to_string()).uid(user).gid(user);
                let child = command.stdin(Stdio::null()).stdout(output).spawn();
                Victim { name, child: child.expect("a victim starts"), history }
            })
            .into()
    }

    /// Waits for victims that must end by themselves, and reads their histories.
    fn record(&self, victims: Vec<Victim>) -> Record {
        let mut record = Record::default();
        for mut victim in victims {
            let status = victim.child.wait().expect("a victim ends");
            assert!(status.success(), "a victim failed: {status}");
            let lines = fs::read_to_string(victim.history).expect("its history");
            record.add(victim.name, &lines.replace(&format!("{} ", victim.name), ""));
        }
        for hold in &mut record.holds {
            // Under attack a loss may be reported before the deadline: it ends the hold.
            hold.end = hold.end.min(hold.lost.take().unwrap_or(u64::MAX));
        }
        // A refused acquisition is no reason to end.
        record.gave_up += record.failed;
        record
    }
}

/// A process that locks during an attack.
struct Victim {
    name: &'static str,
    child: Child,
    history: PathBuf,
}

/// A running attacker.
struct Attacker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Attacker {
    fn start(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("an attacker starts");
        let mut answers = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut begun = String::new();
        answers.read_line(&mut begun).expect("an answer");
        assert_eq!(begun.trim(), "begun", "the attacker");
        Self { child, answers }
    }

    /// Ends the attacker; returns how often its action succeeded.
    fn end(mut self) -> u64 {
        drop(self.child.stdin.take());
        let mut count = String::new();
        self.answers.read_to_string(&mut count).expect("an answer");
        count.trim().parse().expect("a number")
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
