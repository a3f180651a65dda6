//! How many system calls each contestant makes: a worker of its own repeats each under strace, whose
//! list is counted. Nothing is timed here, since strace slows each call down.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::alone::{CONTESTANTS, with_acts};
use super::locks::Locks;
use super::run::{Bench, Halt};

/// The number of repetitions of each.
const TURNS: usize = 20;
/// How long strace may take; usually it needs less than a second.
const LONGEST: Duration = Duration::from_secs(30);
/// The pause between two checks whether it has ended.
const TICK: Duration = Duration::from_millis(20);
/// The names that the worker looks up before and after the turns of a contestant: they are not there.
const BEGIN: &str = "counted-from-here.";
const END: &str = "counted-until-here";

/// What the worker does: each contestant once to warm up, and then between two marks.
pub(super) fn repeat(folder: &Path) -> Result<(), String> {
    // While no lock is held, the thread that renews locks ends, and would be started anew each time.
    let _held = Locks::new(folder, "beside").ours.acquire().map_err(|error| error.to_string())?;
    with_acts(folder, |acts| {
        for ((name, _), act) in CONTESTANTS.iter().zip(acts) {
            act()?;
            let _ = fs::metadata(folder.join(format!("{BEGIN}{name}")));
            (0..TURNS).try_for_each(|_| act())?;
            let _ = fs::metadata(folder.join(END));
        }
        Ok(())
    })
}

/// How many system calls a turn of each contestant makes; or why that is not known.
type Counts = Result<Vec<(&'static str, f64)>, String>;

/// Counts the system calls.
pub(super) fn count(bench: &Bench) -> Result<Counts, Halt> {
    let list = bench.place.folder().join("strace");
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let started = Command::new("strace")
        .args(["-f", "-qq", "-e", "signal=none", "-o"])
        .arg(&list)
        .arg(program)
        // Its parent is strace. It ends with strace, and with its standard input.
        .args(["bench-worker", "0", "0"])
        .arg(bench.place.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut strace = match started {
        Ok(strace) => Strace(strace),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Err("strace is not installed".into()));
        }
        Err(error) => return Ok(Err(format!("strace cannot be started: {error}"))),
    };
    if let Some(mut input) = strace.0.stdin.take() {
        // It fails only if the worker has already ended, which is seen below.
        let _ = input.write_all(b"calls\n");
    }
    let end = Instant::now() + LONGEST;
    loop {
        bench.check_stop()?;
        match strace.0.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(None) if Instant::now() < end => thread::sleep(TICK),
            Ok(None) => return Ok(Err(format!("strace took over {} s", LONGEST.as_secs()))),
            Ok(Some(status)) => return Ok(Err(format!("strace failed: {status}"))),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    let text = fs::read_to_string(&list).map_err(|error| Halt::Failed(error.to_string()))?;
    let found = counted(&text);
    Ok(if found.is_empty() { Err("strace listed no calls".into()) } else { Ok(found) })
}

/// Counts the calls between the marks in the list of strace: one a line, behind the thread's number. A
/// call that another thread interrupts has two lines, of which the second one is `resumed`.
fn counted(list: &str) -> Vec<(&'static str, f64)> {
    let mut found: Vec<(&'static str, f64)> = Vec::new();
    let mut is_counting = false;
    let calls = list.lines().filter(|line| line.contains('(') && !line.contains(" resumed>"));
    for line in calls {
        if let Some((_, rest)) = line.split_once(BEGIN) {
            let of = CONTESTANTS.iter().find(|(name, _)| rest.split('"').next() == Some(name));
            found.extend(of.map(|(name, _)| (*name, 0.0)));
            is_counting = of.is_some();
        } else if line.contains(END) {
            is_counting = false;
        } else if let Some((_, count)) = found.last_mut().filter(|_| is_counting) {
            *count += 1.0 / TURNS as f64;
        }
    }
    found
}

/// strace, and the worker with it, which are killed when this is dropped.
struct Strace(Child);

impl Drop for Strace {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_between_the_marks_are_counted_once() {
        let turns = "7 mkdir(\"/x/raw\", 0777) = 0\n7 rmdir(\"/x/raw\" <unfinished ...>\n\
             8 futex(0x1, FUTEX_WAIT) = 0\n7 <... rmdir resumed>) = -1 ENOENT (No such file or directory)\n"
            .repeat(TURNS);
        let list = format!(
            "7 getpid() = 7\n7 statx(AT_FDCWD, \"/x/{BEGIN}mkdir_rmdir\", 0) = -1 ENOENT\n{turns}\
             7 statx(AT_FDCWD, \"/x/{END}\", 0) = -1 ENOENT\n7 getpid() = 7\n"
        );

        let found = counted(&list);

        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.round()), ("mkdir_rmdir", 3.0));
        assert_eq!(counted("7 getpid() = 7\n"), []);
    }
}
