//! The shortest use of a lock: create it, wait for it, use the scarce resource, release it.
//!
//! Shows the few lines that every program needs. Run two of these at once with the same folder
//! (`cargo run --example how_to_use -- .`) and watch the second one wait for the first.
//!
//! After the example of the same name in Andreas Krueger's `lockbydir` (2015).

use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use lockbydir::Lock;

fn main() -> Result<(), Box<dyn Error>> {
    play(std::env::args_os().nth(1).map(PathBuf::from))
}

pub(crate) fn play(folder: Option<PathBuf>) -> Result<(), Box<dyn Error>> {
    // Without an argument the lock is in a fresh folder, which is removed at the end.
    let (folder, _fresh) = match folder {
        Some(folder) => (folder, None),
        None => {
            let fresh = tempfile::Builder::new().prefix("lockbydir-").tempdir()?;
            (fresh.path().to_path_buf(), Some(fresh))
        }
    };

    let lock = Lock::new(folder.join("kitchen")).patience(Duration::from_secs(30));
    println!("The lock is the directory {}", lock.path()?.display());

    let guard = lock.acquire()?; // It is renewed until the guard ends.
    println!("Locked: the kitchen is mine, my number is {}. Cooking ...", guard.token());
    thread::sleep(Duration::from_secs(1));
    guard.release()?;
    println!("Unlocked: the next cook may come in.");

    Ok(())
}
