//! The descendants of a process, as `/proc` lists them. Allocates nothing and takes no lock, because
//! the supervisor is a forked child of a program with threads.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RawDir, accessat, openat, readlinkat_raw};
use rustix::io::{Errno, read};
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, test_kill_process, waitpid};

/// Limits the depth of a search, in generations. Deeper descendants are found when those above them have
/// ended: then they are the caller's own children.
const DEEPEST: u8 = 32;

/// Whether `/proc` shows the processes of this PID namespace. If not, its numbers mean other processes.
pub(super) fn is_ours() -> bool {
    number_in_proc() == Some(getpid())
}

/// Returns this process's PID as `/proc` shows it, if it does.
pub(super) fn number_in_proc() -> Option<Pid> {
    let mut buffer = [MaybeUninit::uninit(); 16];
    let (name, _) = readlinkat_raw(CWD, c"/proc/self", &mut buffer[..]).ok()?;
    number(name).and_then(Pid::from_raw)
}

/// Calls `on` with every child of a process. A child that ends meanwhile may hide others from one
/// search; the next search finds them.
pub(super) fn each_child(parent: Pid, on: &mut dyn FnMut(Pid)) {
    let path = Text::new(b"/proc/").number(parent).bytes(b"/task");
    let Ok(tasks) = open_dir(&path) else { return };
    let mut has_lists = true;
    each_number(&tasks, &mut |task| {
        let path = Text::new(b"").number(task).bytes(b"/children");
        match openat(&tasks, path.c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(list) => each_listed(&list, on),
            Err(Errno::NOENT) => {
                // Either the thread has ended, or this kernel keeps no such lists.
                let path = Text::new(b"").number(task);
                let exists = accessat(&tasks, path.c_str(), Access::EXISTS, AtFlags::empty());
                has_lists &= exists.is_err();
            }
            Err(_) => {}
        }
    });
    if !has_lists {
        let Ok(all) = open_dir(&Text::new(b"/proc")) else { return };
        each_number(&all, &mut |pid| {
            if stat(pid).is_some_and(|(_, of)| of == parent.as_raw_nonzero().get()) {
                on(pid);
            }
        });
    }
}

/// Calls `on` with every descendant, parents before their children.
pub(super) fn each_descendant(root: Pid, on: &mut dyn FnMut(Pid)) {
    below(root, 0, on);
}

fn below(root: Pid, depth: u8, on: &mut dyn FnMut(Pid)) {
    each_child(root, &mut |child| {
        on(child);
        if depth < DEEPEST {
            below(child, depth + 1, on);
        }
    });
}

/// Returns the state of a process as one letter; `None` if it is gone.
pub(super) fn state(pid: Pid) -> Option<u8> {
    stat(pid).map(|(state, _)| state)
}

/// Returns true if a process has not ended. One that `/proc` hides, because it is another user's, counts as
/// alive as long as it exists.
pub(super) fn lives(pid: Pid) -> bool {
    match state(pid) {
        Some(state) => !matches!(state, b'Z' | b'X'),
        None => test_kill_process(pid) == Err(Errno::PERM),
    }
}

/// Returns the state and the parent of a process.
fn stat(pid: Pid) -> Option<(u8, i32)> {
    let path = Text::new(b"/proc/").number(pid).bytes(b"/stat");
    let file = openat(CWD, path.c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 256];
    let length = read(&file, &mut buffer).ok()?;
    let line = buffer.get(..length)?;
    // The program's name, in parentheses, may contain anything; the last parenthesis closes it.
    let close = line.iter().rposition(|&byte| byte == b')')?;
    let state = *line.get(close + 2)?;
    let parent = line.get(close + 4..)?.split(|&byte| byte == b' ').next().and_then(number)?;
    Some((state, parent))
}

fn open_dir(path: &Text) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path.c_str(), flags, Mode::empty())
}

/// Calls `on` with every name in a directory that is a number.
fn each_number(dir: &OwnedFd, on: &mut dyn FnMut(Pid)) {
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        if let Some(pid) = number(entry.file_name().to_bytes()).and_then(Pid::from_raw) {
            on(pid);
        }
    }
}

/// Calls `on` with every number in a file; a space follows each.
fn each_listed(list: &OwnedFd, on: &mut dyn FnMut(Pid)) {
    let mut buffer = [0; 1024];
    let mut pid = 0;
    while let Ok(length @ 1..) = read(list, &mut buffer) {
        for &byte in buffer.iter().take(length) {
            if byte.is_ascii_digit() {
                pid = pid * 10 + i32::from(byte - b'0');
            } else {
                let _ = Pid::from_raw(std::mem::take(&mut pid)).map(&mut *on);
            }
        }
    }
}

fn number(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A short path, built without allocation.
struct Text {
    bytes: [u8; 48],
    length: usize,
}

impl Text {
    fn new(bytes: &[u8]) -> Text {
        Text { bytes: [0; 48], length: 0 }.bytes(bytes)
    }

    fn bytes(mut self, bytes: &[u8]) -> Text {
        // The last byte stays 0.
        let room = self.bytes.len() - 1 - self.length;
        for &byte in bytes.iter().take(room) {
            self.bytes[self.length] = byte;
            self.length += 1;
        }
        self
    }

    fn number(self, number: Pid) -> Text {
        let mut digits = [b'0'; 10];
        let mut rest = number.as_raw_nonzero().get();
        let mut first = digits.len();
        while rest > 0 {
            first -= 1;
            digits[first] += u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        self.bytes(&digits[first..])
    }

    fn c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// Waits for the end of this child; returns `None` if it is not a child of this process.
pub(super) fn wait_for(pid: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            ended => return ended.ok().flatten().map(|(_, status)| status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_descendants_are_found() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & (sleep 60 & sleep 60; :) & echo; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let root = Pid::from_child(&shell);
        let mut found = Vec::new();

        for _ in 0..2000 {
            found.clear();
            each_descendant(root, &mut |pid| found.push(pid));
            if found.len() == 4 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }

        assert_eq!(found.len(), 4, "{found:?}");
        assert!(is_ours() && found.iter().all(|pid| state(*pid) != Some(b'Z')));
        for pid in found {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        shell.wait().unwrap();
        assert_eq!(state(root), None);
    }
}
