//! `watch`: one frame for scripts; and on a terminal (made by `script`) what is shown, what the keys do,
//! and that the terminal is restored whatever ends the program.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Folder, Ran, is_alive, until};

/// A program on a terminal of its own, such as `lockbydir watch`.
pub(crate) struct Terminal {
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Runs a shell's command line on it; `$L` is the program.
    pub(crate) fn run(folder: &Folder, shell: &str) -> Terminal {
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", shell, "/dev/null"])
            .current_dir(folder.path())
            .env("L", env!("CARGO_BIN_EXE_lockbydir"))
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut out, all) = (child.stdout.take().unwrap(), seen.clone());
        let reader = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut some) {
                all.lock().unwrap().extend(&some[..count]);
            }
        });
        Terminal { child, seen, reader }
    }

    /// Watches with these arguments; prints at its end the exit code, and whether the terminal's modes are
    /// the same as before. The files for that are removed.
    fn watch(folder: &Folder, arguments: &str) -> Terminal {
        let terminal = Terminal::run(
            folder,
            &format!(
                "stty cols 80 rows 24; before=$(stty -g); sh -c 'echo $$ > pid; exec \"$L\" watch {arguments}'; \
                 echo \"code $?\"; rm pid; [ \"$before\" = \"$(stty -g)\" ] && echo 'as before'"
            ),
        );
        terminal.shows("TAKEN/S");
        terminal
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until these words are on the screen.
    #[track_caller]
    pub(crate) fn shows(&self, words: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !screen(&self.text()).contains(words) {
            assert!(Instant::now() < end, "no `{words}` in\n{}", screen(&self.text()));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn end(mut self) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("no end of\n{}", screen(&self.text()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits for the end. Asserts that it has this code, and that screen, cursor and modes are restored.
    #[track_caller]
    fn ends_with(self, code: i32) -> String {
        let text = self.end();
        let (shown, after) = text.rsplit_once("\u{1b}[?1049l").expect("the screen is given back");
        assert_eq!(text.matches("\u{1b}[?1049h").count(), text.matches("\u{1b}[?1049l").count());
        assert!(shown.ends_with("\u{1b}[?25h"), "the cursor is seen: {after:?}");
        assert!(after.contains(&format!("code {code}\r\nas before")), "{after:?}");
        after.to_owned()
    }
}

/// Returns the screen of a terminal that got this output, one line for each row. Knows only the sequences
/// that `watch` sends.
fn screen(sent: &str) -> String {
    let mut rows = vec![vec![' '; 200]; 60];
    let (mut x, mut y) = (0, 0);
    let mut signs = sent.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\u{1b}' => {
                let mut code = String::new();
                let is_within = |c: &char| matches!(c, '[' | '?' | ';' | '0'..='9');
                let last = loop {
                    match signs.next() {
                        Some(c) if is_within(&c) => code.push(c),
                        other => break other,
                    }
                };
                let mut numbers = code.trim_start_matches(['[', '?']).split(';');
                let mut number = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(1);
                match last {
                    Some('H') => (y, x) = (number() - 1, number() - 1),
                    Some('J') => rows.iter_mut().for_each(|row| row.fill(' ')),
                    Some('h' | 'l') if code.ends_with("1049") => {
                        (x, y) = (0, 0);
                        rows.iter_mut().for_each(|row| row.fill(' '));
                    }
                    _ => {}
                }
            }
            '\r' => x = 0,
            '\n' => y += 1,
            sign => {
                if let Some(cell) = rows.get_mut(y).and_then(|row| row.get_mut(x)) {
                    *cell = sign;
                }
                x += 1;
            }
        }
    }
    let lines = rows.iter().map(|row| row.iter().collect::<String>());
    lines.map(|line| line.trim_end().to_owned() + "\n").collect::<String>().trim_end().to_owned()
}

fn pid_in(folder: &Folder) -> Pid {
    let path = folder.path().join("pid");
    let read = || std::fs::read_to_string(&path).ok()?.trim().parse().ok().and_then(Pid::from_raw);
    until("its PID", || read().is_some());
    read().unwrap()
}

fn once(folder: &Folder, arguments: &[&str]) -> Ran {
    let mut command = folder.command(&[&["watch", "--once"], arguments].concat());
    command.env("COLUMNS", "100").env("LINES", "20");
    Ran::of(command.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn once_prints_a_frame_in_plain_characters() {
    let folder = Folder::new();
    let holding = folder.hold(&["--label", "nightly"], "cat");

    let ran = once(&folder, &[]);

    assert_eq!((ran.code, &*ran.err), (0, ""));
    let row = ran.out.lines().find(|line| line.starts_with("  jobs")).expect("a row");
    assert!(row.contains("● held") && row.contains("nightly"), "{row}");
    assert!(row.contains(&holding.child.id().to_string()), "{row}");
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 100));
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn a_lock_that_is_named_is_shown_before_anybody_takes_it() {
    let folder = Folder::new();

    let ran = once(&folder, &["jobs", "other"]);

    for name in ["jobs", "other"] {
        let row = ran.out.lines().find(|line| line.starts_with(&format!("  {name} ")));
        assert!(row.is_some_and(|row| row.contains("○ free")), "{}", ran.out);
    }
}

#[test]
fn once_shows_what_is_in_a_lock_directorys_place() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("bare.lockdir")).unwrap();
    std::fs::create_dir(at("other.lockdir")).unwrap();
    std::fs::write(at("other.lockdir/note"), "").unwrap();
    std::fs::write(at("file.lockdir"), "").unwrap();
    std::os::unix::fs::symlink("/tmp", at("link.lockdir")).unwrap();

    let ran = once(&folder, &[]);
    let named = once(&folder, &["bare", "file"]);

    let row = |ran: &Ran, name: &str, words: &str| {
        let row = ran.out.lines().find(|line| line.starts_with(&format!("  {name} ")));
        assert!(row.is_some_and(|row| row.contains(words)), "no `{words}` in {}", ran.out);
    };
    assert!(ran.out.contains("  4 locks, 3 in trouble"), "{}", ran.out);
    row(&ran, "bare", "■ bare    unknown (mkdir lock)");
    row(&ran, "other", "?foreign  it holds `note`");
    row(&ran, "file", "?foreign  it is not a directory");
    row(&ran, "link", "?foreign  it is a symbolic link");
    row(&named, "bare", "■ bare ");
    row(&named, "file", "?foreign  it is not a directory");
    for name in ["other.lockdir/note", "file.lockdir", "link.lockdir"] {
        std::fs::remove_file(at(name)).unwrap();
    }
    for name in ["bare.lockdir", "other.lockdir"] {
        std::fs::remove_dir(at(name)).unwrap();
    }
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| folder.run(arguments);

    run(&["watch"]).refused(64, "no terminal: `watch --once` prints one frame");
    run(&["watch", "--once", "missing/"]).refused(74, "/missing/: No such file");
    run(&["watch", "--once", "missing/jobs"]).refused(74, "cannot read");
    run(&["watch", "--once", ".", "jobs"]).refused(64, "cannot watch . beside others");
    run(&["watch", "--once", "", "jobs"]).refused(64, "a value is required");
    run(&["watch", "--once", "--dir", "missing"]).refused(74, "/missing: No such file");
}

#[test]
fn a_terminal_without_a_cursor_is_refused() {
    let folder = Folder::new();

    let text = Terminal::run(&folder, "TERM=dumb \"$L\" watch; echo code $?").end();

    assert!(text.contains("(TERM is dumb)") && text.contains("code 64"), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn watch_follows_locks_and_q_restores_the_terminal() {
    let folder = Folder::new();
    let mut terminal = Terminal::watch(&folder, "");
    terminal.shows("no locks yet");

    let holding = folder.hold(&["--label", "nightly"], "cat");
    terminal.shows("nightly");
    assert_eq!(holding.finish().code, 0);
    terminal.shows("free");

    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn control_c_gives_the_terminal_back() {
    let folder = Folder::new();
    let mut terminal = Terminal::watch(&folder, "");

    terminal.press("\u{3}");

    terminal.ends_with(0);
}

#[test]
fn a_signal_restores_the_terminal_and_sets_the_exit_code() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let folder = Folder::new();
        let terminal = Terminal::watch(&folder, "");

        kill_process(pid_in(&folder), signal).unwrap();

        let after = terminal.ends_with(code);
        assert!(!after.contains("lockbydir:"), "{after:?}");
    }
}

#[test]
fn a_vanished_terminal_ends_the_program() {
    let folder = Folder::new();
    // The second one gets no signal: it is in another session.
    for shell in ["exec \"$L\" watch", "setsid \"$L\" watch; true"] {
        let shell = format!("stty cols 80 rows 24; sh -c 'echo $$ > pid; {shell}'");
        let mut terminal = Terminal::run(&folder, &shell);
        terminal.shows("no locks yet");
        let of_shell = pid_in(&folder);
        let path = format!("/proc/{0}/task/{0}/children", of_shell.as_raw_nonzero());
        let child = std::fs::read_to_string(path).unwrap_or_default();
        let watching = child.trim().parse().unwrap_or(of_shell.as_raw_nonzero().get());

        terminal.child.kill().unwrap();
        terminal.child.wait().unwrap();

        until("the end", || !is_alive(watching));
        std::fs::remove_file(folder.path().join("pid")).unwrap();
    }
}

#[test]
fn a_vanished_folder_is_reported_after_restoring_the_terminal() {
    let folder = Folder::new();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let terminal = Terminal::watch(&folder, "inner");

    std::fs::remove_dir(&inner).unwrap();

    let after = terminal.ends_with(74);
    assert!(after.contains("lockbydir: cannot read"), "{after:?}");
}

#[test]
fn control_z_gives_the_terminal_back_and_fg_takes_it_again() {
    let folder = Folder::new();
    let mut terminal = Terminal::run(&folder, "stty cols 80 rows 24; bash --norc --noprofile -i");
    terminal.press("\"$L\" watch\n");
    terminal.shows("no locks yet");

    terminal.press("\u{1a}");
    terminal.shows("Stopped");
    let text = terminal.text();
    let stopped = text.split("\u{1b}[?1049l").nth(1).expect("the screen is given back");
    assert!(stopped.contains("Stopped"), "{stopped:?}");
    terminal.press("stty -a | grep -o '.icanon'; fg\n");
    until("the second time", || terminal.text().matches("\u{1b}[?1049h").count() == 2);
    terminal.shows("no locks yet");
    terminal.press("q");
    // Input that is typed earlier goes to the program.
    until("the end", || terminal.text().matches("\u{1b}[?1049l").count() == 2);
    terminal.press("echo code $?; exit\n");

    let text = terminal.end();
    assert!(text.contains("code 0") && text.contains(" icanon"), "{text:?}");
    assert_eq!(text.matches("\u{1b}[?1049h").count(), 2, "{text:?}");
    assert_eq!(text.matches("\u{1b}[?1049l").count(), 2, "{text:?}");
}

#[test]
fn a_living_holders_lock_is_broken_only_by_force() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "100ms", "late"]).out;
    assert!(!key.is_empty());
    let holding = folder.hold(&[], "cat");
    let mut terminal = Terminal::watch(&folder, "");
    // The order of the two follows from their states.
    terminal.shows("! expired");
    terminal.shows("● held");

    terminal.press("b");
    terminal.shows("Break");
    terminal.press("y");
    terminal.shows("broken");
    until("the end of the lock", || !folder.names().contains(&"late.lockdir".into()));
    terminal.shows("○ free");
    // Locks that are not in trouble are sorted by name.
    terminal.press("b");
    terminal.shows("lives;");
    terminal.press("B");
    terminal.shows("force?");
    terminal.press("n");
    terminal.shows("left");
    assert_eq!(folder.status()["state"], "held");
    terminal.press("By");
    until("the end of the lock", || folder.status()["state"] == "free");

    terminal.press("q");
    terminal.ends_with(0);
    assert_eq!(holding.finish().code, 76);
}

#[test]
fn a_new_plain_directory_is_broken_only_by_force() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("jobs.lockdir")).unwrap();
    let mut terminal = Terminal::watch(&folder, "");
    terminal.shows("bare");

    terminal.press("b");
    terminal.shows("A plain mkdir lock");
    terminal.press("y");
    terminal.shows("it is not old");
    assert_eq!(folder.status()["state"], "bare");
    terminal.press("B");
    terminal.shows("may still be at");
    terminal.press("y");
    terminal.shows("its holder is unknown");

    until("the end of the lock", || folder.status()["state"] == "free");
    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn text_of_others_reaches_the_terminal_only_escaped() {
    let folder = Folder::new();
    let hostile = "\u{1b}]0;x\u{7}\u{202e}";
    let [lock, program] = [".lockdir", ""].map(|end| folder.path().join(hostile.to_owned() + end));
    std::fs::create_dir(&lock).unwrap();
    std::fs::copy("/bin/cat", &program).unwrap();
    let holding = folder.hold(&[], "exec ./*x*[!r]");
    let mut terminal = Terminal::watch(&folder, "");
    // The lock, and the command that holds the other one.
    terminal.shows("u{202e}");
    terminal.shows("jobs");
    terminal.press("j\r");
    terminal.shows("(\\x1b]0;x\\x07");
    terminal.press("q");

    let text = terminal.end();
    assert!(["\u{1b}]", "\u{7}", "\u{202e}"].iter().all(|bad| !text.contains(bad)), "{text:?}");
    assert_eq!(holding.finish().code, 0);
    std::fs::remove_dir(&lock).unwrap();
    std::fs::remove_file(&program).unwrap();
}
