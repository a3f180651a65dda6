//! A narrated tour through what a lock does, in small scenes.
//!
//! Shows: breaking by force; inspecting a held lock; a shorter timeout that opens it; waiting for a
//! timeout; that locking twice fails; that two values of one name are one lock; that patience ends.
//! Every scene checks what it prints, so the tour stops at the first surprise. With a folder as its
//! argument the lock is there.
//!
//! After the example of the same name in Andreas Krueger's `lockbydir` (2015).

use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use lockbydir::{Broken, How, Lock, State, Status};

/// Prints a status of the lock.
fn look(status: &Status) {
    let seconds = |time: Option<Duration>| {
        time.map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
    };
    println!(
        "      it is {}; directory exists: {}; age: {}; lasts: {}",
        status.state,
        status.path.exists(),
        seconds(status.age),
        seconds(status.remaining)
    );
}

fn scene(number: u32, title: &str) {
    println!("\n{number}. {title}");
}

fn main() -> Result<(), Box<dyn Error>> {
    play(std::env::args_os().nth(1).map(PathBuf::from))
}

pub(crate) fn play(folder: Option<PathBuf>) -> Result<(), Box<dyn Error>> {
    let (folder, _fresh) = match folder {
        Some(folder) => (folder, None),
        None => {
            let fresh = tempfile::Builder::new().prefix("lockbydir-").tempdir()?;
            (fresh.path().to_path_buf(), Some(fresh))
        }
    };
    let begun = Instant::now();
    let log = |text: &str| println!("   [{:6.3} s] {text}", begun.elapsed().as_secs_f64());
    let name = folder.join("tour");
    let lock = Lock::new(&name).timeout(Duration::from_secs(10)).patience(Duration::from_secs(5));
    println!("One lock, looked at from all sides: {}", lock.path()?.display());

    scene(1, "Breaking by force: whoever holds it, it is free afterwards");
    let _key = lock.acquire()?.keep();
    log("somebody locked it and walked away:");
    look(&lock.status()?);
    assert!(matches!(lock.break_by_force()?, Broken::Removed(_)), "somebody's lock was there");
    log("broken. Breaking it once more finds nothing to break:");
    assert!(matches!(lock.break_by_force()?, Broken::WasFree), "nothing to break");
    look(&lock.status()?);
    assert!(!lock.is_locked()?, "a broken lock is free");

    scene(2, "Locking, and looking at it one second later");
    let guard = lock.acquire()?;
    log(&format!("locked with number {}; the directory was made just now:", guard.token()));
    look(&lock.status()?);
    thread::sleep(Duration::from_secs(1));
    log("one second later it is older, and still locked:");
    look(&lock.status()?);
    assert!(lock.is_locked()? && guard.is_held(), "ten seconds have not passed");

    scene(3, "The timeout belongs to the holder: a shorter one opens the lock sooner");
    guard.set_timeout(Duration::from_millis(200))?;
    log("the holder now wants 0.2 s only, counted from now:");
    look(&lock.status()?);
    thread::sleep(Duration::from_millis(300));
    log("0.3 s later the old directory is as good as none, and the guard knows:");
    look(&lock.status()?);
    assert!(!lock.is_locked()? && !guard.is_held(), "the timeout has passed");

    scene(4, "Waiting for a timeout");
    drop(guard);
    let forgotten = lock.clone().timeout(Duration::from_secs(2)).acquire()?;
    log("a holder with a timeout of 2 s forgets to unlock; now somebody waits:");
    let next = lock.acquire()?;
    log("and got it, the moment the timeout had passed:");
    look(&lock.status()?);
    assert!(matches!(next.how(), How::AfterExpiry(_)), "got after expiry");
    assert!(!forgotten.is_held() && forgotten.release().is_err(), "the first one lost it");
    log("the forgetful one, waking up, learns that the lock is lost");

    scene(5, "Locking twice fails: not even its holder gets in a second time");
    assert!(lock.try_acquire()?.is_none(), "held already");
    log("one try, no waiting: no");

    scene(6, "Two values with the same name are one lock");
    let twin = Lock::new(&name);
    assert!(twin.is_locked()?, "same name, same lock");
    log("the twin sees it locked:");
    look(&twin.status()?);
    next.release()?;
    let twins = twin.try_acquire()?.ok_or("the twin finds it free")?;
    log("released by the first, taken by the twin: now the first sees it locked:");
    look(&lock.status()?);
    assert!(lock.is_locked()?, "same name, same lock");

    scene(7, "Patience runs out");
    let waited = Instant::now();
    let error =
        lock.clone().patience(Duration::from_secs(1)).acquire().err().ok_or("the twin holds it")?;
    log(&format!("gave up after {:.3} s, and heard why:", waited.elapsed().as_secs_f64()));
    println!("      {error}");
    assert!(error.is_patience_over(), "patience was the reason");
    twins.release()?;

    println!();
    let end = lock.status()?;
    look(&end);
    assert!(end.state == State::Free && !end.path.exists(), "nothing is left behind");
    println!("Verdict: every scene went as planned, and nothing is left behind.");
    Ok(())
}
