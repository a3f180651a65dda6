//! An attacker: performs one hostile action again and again, as fast as it can, until its standard input
//! ends; then it prints how often the action succeeded.
//!
//! `lockbydir-attacker DEED PATH...`; the tests start it as another user, so it can do what such a user
//! can do, and no more.

use std::{
    ffi::CString,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, mkdir, open, openat, rename, renameat_with,
        rmdir, unlinkat,
    },
    io::Errno,
};

/// Performs one action; returns true if it succeeded.
type Attack = Box<dyn FnMut() -> bool>;

fn exchange(one: &Path, other: &Path) -> bool {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn names(fd: &OwnedFd) -> Vec<CString> {
    Dir::read_from(fd)
        .into_iter()
        .flatten()
        .filter_map(|found| Some(found.ok()?.file_name().to_owned()))
        .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
        .collect()
}

/// Opens a pipe in a queue, whoever made it.
fn pipe(queue: &OwnedFd, name: &CString, how: OFlags) -> Result<OwnedFd, Errno> {
    openat(queue, name, how | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Returns the attack that the arguments name.
fn attack(arguments: &[String]) -> Option<Attack> {
    let path = |nth: usize| arguments.get(nth).map(|path| Path::new(path).to_owned());
    let (one, other) = (path(1)?, path(2).unwrap_or_default());
    match arguments[0].as_str() {
        "exchange" => Some(Box::new(move || exchange(&one, &other))),
        "move-away" => Some(move_away(one, other)),
        "exchange-stages" => exchange_stages(one, other),
        "squat" => Some(squat(one)),
        "ring" => Some(ring(one)),
        "fill-bell" => Some(fill_bell(one)),
        "hold" => hold(&one),
        "say" => Some(say(one, arguments.get(2)?.replace("\\n", "\n"))),
        "expel" => Some(expel(one, arguments.get(2).cloned().unwrap_or_default())),
        _ => None,
    }
}

/// Moves something away, so that others do not find it.
fn move_away(one: PathBuf, other: PathBuf) -> Attack {
    let mut nth = 0;
    Box::new(move || {
        nth += 1;
        let mut away = other.clone().into_os_string();
        away.push(nth.to_string());
        rename(&one, Path::new(&away)).is_ok()
    })
}

/// Exchanges any stage in the folder with the bait, and back. If the bait was installed meanwhile, it is
/// fetched back.
fn exchange_stages(one: PathBuf, bait: PathBuf) -> Option<Attack> {
    let folder = directory(&one).ok()?;
    let mut nth = 0;
    let is_stage = |name: &CString| {
        let name = name.to_bytes();
        name.windows(9).any(|part| part == b".lockdir.") && !name.ends_with(b".queue")
    };
    Some(Box::new(move || {
        let found = names(&folder).into_iter().find(is_stage);
        let Some(stage) = found.and_then(|name| name.into_string().ok()) else {
            return false;
        };
        let stage = one.join(stage);
        let done = exchange(&stage, &bait);
        if done {
            thread::yield_now();
        }
        if done && !exchange(&stage, &bait) {
            nth += 1;
            let installed = stage.with_extension("");
            let _ = rename(&bait, one.join(format!("stolen{nth}")));
            let _ = rename(&installed, &bait);
        }
        done
    }))
}

/// Takes the name whenever it is free.
fn squat(one: PathBuf) -> Attack {
    Box::new(move || {
        let done = mkdir(&one, Mode::RWXU).is_ok();
        let _ = rmdir(&one);
        done
    })
}

/// Opens the bell of a queue.
fn bell(queue: &Path, how: OFlags) -> Result<OwnedFd, Errno> {
    directory(queue).and_then(|queue| pipe(&queue, &CString::from(c"bell"), how))
}

/// Rings the bell of a queue.
fn ring(queue: PathBuf) -> Attack {
    Box::new(move || bell(&queue, OFlags::WRONLY).is_ok())
}

/// Fills the bell and holds it open: it is readable for ever.
fn fill_bell(queue: PathBuf) -> Attack {
    let mut kept = None;
    Box::new(move || {
        if kept.is_none() {
            let opened = bell(&queue, OFlags::RDWR).ok();
            kept = opened.filter(|bell| rustix::io::write(bell, b"x").is_ok());
        }
        thread::yield_now();
        kept.is_some()
    })
}

/// Holds a pipe open, so that its owner seems to live.
fn hold(one: &Path) -> Option<Attack> {
    let pipe = open(one, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some(Box::new(move || {
        thread::yield_now();
        rustix::fs::fstat(&pipe).is_ok()
    }))
}

/// Does something to every name in a queue; true if it was done to one of them.
fn each(queue: &Path, deed: impl Fn(&OwnedFd, &CString) -> bool) -> bool {
    let Ok(queue) = directory(queue) else { return false };
    names(&queue).iter().fold(false, |done, name| deed(&queue, name) | done)
}

/// Writes something into every pipe in the queue.
fn say(queue: PathBuf, words: String) -> Attack {
    Box::new(move || {
        each(&queue, |queue, name| {
            let pipe = pipe(queue, name, OFlags::RDWR);
            pipe.is_ok_and(|pipe| rustix::io::write(&pipe, words.as_bytes()).is_ok())
        })
    })
}

/// Removes every name in the queue that can be removed, except names that begin with `spared`.
fn expel(queue: PathBuf, spared: String) -> Attack {
    Box::new(move || {
        each(&queue, |queue, name| {
            let is_spared = !spared.is_empty() && name.to_bytes().starts_with(spared.as_bytes());
            !is_spared && unlinkat(queue, name, AtFlags::empty()).is_ok()
        })
    })
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(mut attack) = arguments.first().and_then(|_| attack(&arguments)) else {
        return Err(io::Error::other("usage: lockbydir-attacker DEED PATH [MORE]"));
    };
    println!("begun");
    io::stdout().flush()?;
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        ended.store(true, Ordering::Relaxed);
    });
    let mut count: u64 = 0;
    while !over.load(Ordering::Relaxed) {
        count += u64::from(attack());
    }
    println!("{count}");
    Ok(())
}
