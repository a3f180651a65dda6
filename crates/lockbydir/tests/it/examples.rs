//! The examples, run as real processes: their output and exit codes, and that they leave nothing
//! behind. `cargo test` builds them together with the tests, but not if it builds these tests alone
//! (`--test it`).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use lockbydir::Lock;

use crate::{assert_empty, ms};

/// Returns the command of an example that uses this folder as its current directory and for
/// temporary files.
fn example(name: &str, folder: &Path, arguments: &[&str]) -> Command {
    let tests = env::current_exe().unwrap();
    let program = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(program.exists(), "no {}: `cargo build --examples` makes it", program.display());
    assert!(!is_stale(name, &program), "{name} is old: `cargo build --examples` makes it anew");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env("TMPDIR", folder)
        .env("TMP", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Returns true if the program is older than its source.
fn is_stale(name: &str, program: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"));
    let changed = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    changed(&source) > changed(program)
}

/// Returns the lines of its output; it must have ended with this code.
fn lines(output: &Output, code: i32) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}\n{errors}");
    if code == 0 {
        assert!(errors.is_empty(), "{errors}");
    }
    text.lines().map(str::to_owned).collect()
}

fn run(name: &str, arguments: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let output = example(name, folder.path(), arguments).output().unwrap();
    assert_empty(folder.path());
    lines(&output, 0)
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

/// Returns the number before these words.
fn number(lines: &[String], words: &str) -> usize {
    lines
        .iter()
        .find_map(|line| line.split_once(words)?.0.rsplit([' ', ',']).next()?.parse().ok())
        .unwrap_or_else(|| panic!("no number before `{words}` in {lines:#?}"))
}

/// Waits until the example has locked this name in its own folder, and returns the lock directory.
fn locked(child: &mut Child, folder: &Path, name: &str) -> PathBuf {
    loop {
        for found in fs::read_dir(folder).unwrap().flatten() {
            let directory = found.path().join(format!("{name}.lockdir"));
            if directory.exists() {
                return directory;
            }
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it locked");
        thread::sleep(ms(1));
    }
}

#[test]
fn how_to_use_locks_works_and_unlocks() {
    let printed = run("how_to_use", &[]);

    assert_eq!(printed.len(), 3, "{printed:#?}");
    assert!(printed[0].ends_with("kitchen.lockdir"), "{printed:#?}");
    assert!(printed[1].starts_with("Locked: "), "{printed:#?}");
    assert!(printed[2].starts_with("Unlocked: "), "{printed:#?}");
}

#[test]
fn two_cooks_in_one_folder_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let held = Lock::new(folder.path().join("kitchen")).acquire().unwrap();

    let mut cooks = [0, 1].map(|_| example("how_to_use", folder.path(), &["."]).spawn().unwrap());
    assert!(cooks.iter_mut().all(|cook| cook.try_wait().unwrap().is_none()));
    let first = held.token();
    held.release().unwrap();

    let mut numbers = cooks.map(|cook| {
        let printed = lines(&cook.wait_with_output().unwrap(), 0);
        let (_, number) = printed[1].split_once("my number is ").unwrap();
        number.split('.').next().unwrap().parse::<u64>().unwrap()
    });
    numbers.sort_unstable();
    // The second process cooked a second after the first, and tokens are usually microseconds.
    assert!(first < numbers[0] && numbers[0] + 1_000_000 <= numbers[1], "{numbers:?}");
    assert_empty(folder.path());
}

#[test]
fn inner_workings_shows_all_its_scenes() {
    let printed = run("inner_workings", &[]);

    let scenes: Vec<_> = printed
        .iter()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    assert_eq!(scenes.len(), 7, "{scenes:#?}");
    assert_eq!(count(&printed, "one try, no waiting: no"), 1);
    let at = printed.iter().position(|line| line.contains("0.3 s later")).unwrap();
    assert!(printed[at + 1].contains("it is expired; directory exists: true"), "{printed:#?}");
    assert_eq!(count(&printed, "cannot acquire"), 1);
    assert!(
        printed.last().unwrap().starts_with("Verdict: every scene went as planned"),
        "{printed:#?}"
    );
}

/// Checks the output of `one_bed`, and returns how many slept.
fn nights(printed: &[String]) -> usize {
    assert_eq!(count(printed, "is tired"), 4);
    assert_eq!(printed.last().unwrap(), "Verdict: the bed is empty, and never were two in it.");
    let slept = number(printed, " slept in the bed");
    assert_eq!(slept + number(printed, " gave up waiting"), 4, "{printed:#?}");
    assert_eq!(number(printed, " failed"), 0, "{printed:#?}");
    assert_eq!(count(printed, "lies down"), slept, "{printed:#?}");
    assert_eq!(count(printed, "has no patience left"), 4 - slept, "{printed:#?}");
    slept
}

#[test]
fn one_bed_is_shared_by_processes_that_release_it() {
    let printed = run("one_bed", &["--scale", "0.5", "--forgets", "0"]);

    let slept = nights(&printed);
    assert_eq!(count(&printed, "gave the bed back"), slept, "{printed:#?}");
    assert!(slept >= 2, "{printed:#?}");
    let mut processes: Vec<_> = printed
        .iter()
        .filter(|line| line.contains("is tired"))
        .map(|line| line.split_whitespace().nth(3).unwrap())
        .collect();
    processes.sort_unstable();
    processes.dedup();
    assert_eq!(processes.len(), 4, "{printed:#?}");
}

#[test]
fn one_bed_expires_when_all_forget_it() {
    let printed = run("one_bed", &["--scale", "0.5", "--forgets", "1"]);

    let slept = nights(&printed);
    assert_eq!(count(&printed, "FORGETS"), slept, "{printed:#?}");
    assert_eq!(count(&printed, "the last one forgot"), 1, "{printed:#?}");
    let lain: Vec<f64> = printed
        .iter()
        .filter(|line| line.contains("lies down"))
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    // The timeout is 5 s here, and logging takes its time.
    assert!(lain.windows(2).all(|two| two[1] - two[0] > 3.5), "{printed:#?}");
}

#[test]
fn one_bed_fails_when_the_bed_is_not_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        example("one_bed", folder.path(), &["--scale", "0.2", "--forgets", "0"]).spawn().unwrap();

    // Puts a foreign file into the bed's lock directory.
    let bed = locked(&mut child, folder.path(), "bed");
    fs::write(bed.join("teddy"), "").unwrap();

    let printed = lines(&child.wait_with_output().unwrap(), 1);
    assert_eq!(printed.last().unwrap(), "Verdict: the bed is NOT EMPTY, and something WENT WRONG.");
    assert!(count(&printed, "has a nightmare") > 0, "{printed:#?}");
    assert_empty(folder.path());
}

#[test]
fn massive_compares_the_times_of_all_its_threads() {
    let printed = run("massive", &["--threads", "40", "--scale", "0.1", "--patience", "600"]);

    assert_eq!(number(&printed, " held it"), 40);
    assert_eq!(number(&printed, " gave up"), 0);
    let figures = printed.iter().find(|line| line.starts_with("Overhead")).unwrap();
    for figure in ["min ", "max ", "median ", "mean ", "deviation "] {
        let (_, rest) = figures.split_once(figure).unwrap();
        let value: f64 = rest.split(',').next().unwrap().parse().unwrap();
        assert!(value >= 0.0, "{figures}");
    }
    assert_eq!(
        printed.last().unwrap(),
        "Verdict: of 39 differences all are greater than 0.005 s; the lock is gone."
    );
}

#[test]
fn massive_counts_waiters_that_give_up() {
    // All of them would need 20 s, and wait 2 s.
    let printed = run("massive", &["--threads", "100", "--patience", "0.5", "--scale", "4"]);

    let held = number(&printed, " held it");
    assert_eq!(held + number(&printed, " gave up"), 100, "{printed:#?}");
    assert!(held < 100, "{printed:#?}");
    assert_eq!(number(&printed, " differences"), held - 1);
}

#[test]
fn processes_that_give_up_together_leave_nothing() {
    // All of them would need 20 s, and wait 2 s.
    let printed = run("massive", &["--processes", "100", "--patience", "0.5", "--scale", "4"]);

    assert!(number(&printed, " gave up") > 50, "{printed:#?}");
    assert!(printed.last().unwrap().ends_with("the lock is gone."), "{printed:#?}");
}

#[test]
fn massive_fails_when_a_lock_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        example("massive", folder.path(), &["--threads", "8", "--scale", "4"]).spawn().unwrap();

    // Breaks the lock again and again: a holder that is still acquiring it has not lost it.
    let directory = locked(&mut child, folder.path(), "counter");
    let lock = Lock::new(directory.with_extension(""));
    while child.try_wait().unwrap().is_none() {
        // Its folder is gone at its end.
        let _ = lock.break_by_force();
        thread::sleep(ms(20));
    }

    let printed = lines(&child.wait_with_output().unwrap(), 1);
    assert!(number(&printed, " lost it") > 0, "{printed:#?}");
    assert_empty(folder.path());
}

#[test]
fn massive_compares_the_times_of_processes_too() {
    let printed = run("massive", &["--processes", "40", "--scale", "0.1", "--patience", "600"]);

    assert!(printed[0].starts_with("40 processes, one lock"), "{printed:#?}");
    assert_eq!(number(&printed, " held it"), 40);
    assert_eq!(
        printed.last().unwrap(),
        "Verdict: of 39 differences all are greater than 0.005 s; the lock is gone."
    );
}

#[test]
fn a_storm_ends_without_two_holders() {
    let printed = run("storm", &["--scale", "0.3", "--seed", "7"]);

    assert!(number(&printed, " turns at the helm") > 10, "{printed:#?}");
    for blow in [" killed", " stopped", " gave up"] {
        assert!(number(&printed, blow) > 0 || cfg!(not(unix)), "{printed:#?}");
    }
    assert_eq!(
        printed.last().unwrap(),
        "Verdict: never were two at the helm; the numbers grow; the lock moved on; nothing is left."
    );
}

#[test]
fn a_storm_reports_two_holders() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        example("storm", folder.path(), &["--scale", "0.5", "--folder", "."]).spawn().unwrap();

    // Breaks the lock again and again while it is held.
    let lock = Lock::new(folder.path().join("helm"));
    while child.try_wait().unwrap().is_none() {
        lock.break_by_force().unwrap();
        thread::sleep(ms(20));
    }

    let printed = lines(&child.wait_with_output().unwrap(), 1);
    assert!(
        printed.last().unwrap().starts_with("Verdict: there WERE TWO at the helm;"),
        "{printed:#?}"
    );
}
