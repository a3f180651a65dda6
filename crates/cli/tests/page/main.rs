//! The page of `serve` in a real browser, with real locks. A missing Chromium is a failure.

#![cfg(unix)]
#![allow(missing_docs, reason = "test names are sentences")]

mod address;
mod browser;
mod load;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lockbydir_player::{Contender, Event, How, What};

use browser::{DESKTOP, Looks, NIGHT, PHONE, Page};

fn lockbydir(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbydir"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for name in
        ["LOCKBYDIR_DIR", "LOCKBYDIR_TIMEOUT", "LOCKBYDIR_PATIENCE", "LOCKBYDIR_SERVE_TOKEN"]
    {
        command.env_remove(name);
    }
    command
}

/// A folder in which `lockbydir` runs, and a `serve` for it.
struct Scene {
    folder: tempfile::TempDir,
    url: String,
    server: Child,
    others: Vec<Child>,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let (server, url) = serve(folder.path(), &["--listen", "127.0.0.1:0"]);
        Scene { folder, url, server, others: Vec::new() }
    }

    fn start(&mut self, arguments: &[&str]) -> &mut Child {
        let child = lockbydir(self.folder.path(), arguments).stderr(Stdio::null()).spawn().unwrap();
        self.others.push(child);
        self.others.last_mut().unwrap()
    }

    fn run(&self, arguments: &[&str]) {
        let done = lockbydir(self.folder.path(), arguments).stdout(Stdio::null()).status().unwrap();
        assert!(done.success(), "{arguments:?}");
    }

    fn open(&self, looks: Looks) -> Page {
        let mut page = Page::open(&self.url, looks);
        page.see("document.querySelector('#connection').dataset.is === 'live'");
        page
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain([&mut self.server]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts `serve` and returns the address of its page.
fn serve(folder: &Path, arguments: &[&str]) -> (Child, String) {
    let mut command = lockbydir(folder, &[&["serve"], arguments].concat());
    let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    (server, url.trim_end().to_owned())
}

fn end(child: &mut Child) -> Option<i32> {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap().code()
}

/// Returns a script that counts the pixels of the lanes in the colour with this name.
fn pixels(colour: &str) -> String {
    format!(
        "(() => {{
           const lanes = document.querySelector('#lanes');
           const copy = document.createElement('canvas');
           Object.assign(copy, {{ width: lanes.width, height: lanes.height }});
           const probe = copy.getContext('2d', {{ willReadFrequently: true }});
           probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--{colour}');
           probe.fillRect(0, 0, 1, 1);
           const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
           probe.drawImage(lanes, 0, 0);
           const data = probe.getImageData(250, 0, lanes.width - 250, lanes.height).data;
           let n = 0;
           for (let i = 0; i < data.length; i += 4) n += data[i] === r && data[i + 1] === g && data[i + 2] === b;
           return n;
         }})()"
    )
}

#[test]
fn the_page_shows_expiry_and_takeover_live() {
    let mut scene = Scene::new();
    let mut page = scene.open(DESKTOP);
    page.see("!document.querySelector('#none').hidden");
    assert_eq!(page.eval(&pixels("held")), 0);

    scene.run(&["acquire", "-t", "2s", "--label", "forgetful", "jobs"]);

    page.see("document.querySelector('.card')?.dataset.state === 'held'");
    page.see("document.querySelector('.card').innerText.includes('forgetful')");
    page.see("document.querySelector('.time i').getAnimations().length === 1");
    page.see("document.querySelector('.card').dataset.state === 'expired'");
    page.see("document.querySelector('#log').innerText.includes('jobs: expired; forgetful')");
    page.see("document.title.startsWith('(1) ')");
    page.see("document.querySelector('.lasts').innerText.startsWith('over for 1.')");

    scene.start(&["run", "--label", "heir", "jobs", "--", "sleep", "60"]);

    page.see("document.querySelector('.card').dataset.state === 'held'");
    page.see(
        "document.querySelector('#log').innerText.includes('taken over by heir after expiry')",
    );
    page.see("document.querySelector('#announcement').textContent.includes('heir')");
    // The holding of heir is blue, the expired one orange.
    page.see(&format!("{} > 30", pixels("held")));
    page.see(&format!("{} > 30", pixels("expired")));
    page.press("t");
    let table = page.text("#table");
    for part in ["held, but was not renewed", "another took it over", "taken over after expiry"] {
        assert!(table.contains(part), "no `{part}` in {table}");
    }
    page.picture("forgotten-table");
    page.was_fine(&scene.url);
}

#[test]
fn hostile_names_and_labels_are_text_and_nothing_else() {
    let mut scene = Scene::new();
    let hostile = "<img src=x onerror=alert(1)>\"'`</script>";
    let name = "<img src=x onerror=\"document.title='bad'\">\u{202e}txt\u{2066}";
    scene.run(&["acquire", "-t", "1m", "--label", hostile, name]);
    scene.start(&["run", "--label", "<b onmouseover=alert(1)>&amp;", name, "--", "true"]);
    let mut page = scene.open(DESKTOP);

    page.see("document.querySelector('.card .queue')?.innerText.includes('<b onmouseover')");
    let card = page.text(".card");
    assert!(card.contains("<img src=x onerror="), "{card}");
    assert!(!card.contains('\u{202e}') && !card.contains('\n'), "{card}");
    // All places that show them: lanes, facts, table, heading, address.
    page.eval("document.querySelector('.card').click()");
    page.eval("document.querySelector('#scroller').focus()");
    for key in ["ArrowDown", "ArrowDown", "ArrowUp", "t"] {
        page.press(key);
    }
    page.see("document.querySelector('#table').innerText.includes('<img src=x onerror')");
    page.eval("document.querySelector('#filter').value = '<b'");
    page.eval("document.querySelector('#filter').dispatchEvent(new Event('input'))");
    page.eval("window.isOld = true");
    page.reload();
    page.see("document.querySelector('#of')?.innerText.startsWith('<img')");
    assert!(page.eval("window.isOld").is_null(), "it is loaded anew");
    assert!(!page.text("title").contains("bad"));
    assert_eq!(
        page.eval("document.querySelectorAll('img, b[onmouseover], a:not(.skip)').length"),
        0
    );
    page.was_fine(&scene.url);
}

#[test]
fn unprintable_characters_are_shown_by_their_numbers() {
    let by = |label: &str| Contender {
        id: label.into(),
        host: "web1\u{202e}".into(),
        pid: Some(1),
        command: Some("sh\n-c".into()),
        label: Some(label.into()),
        since: None,
    };
    let event = |lock: &str, what| Event { at: load::now(), lock: lock.into(), what };
    let (timeout_s, remaining_s, how) = (60.0, 60.0, How::Free);
    let holder = by("<svg onload=document.title='bad'>\u{202e}\u{0}\r\n\u{2028}\u{200b}end");
    let events = vec![
        event("a\nb", What::Acquired { by: holder, token: 1, timeout_s, remaining_s, how }),
        event("a\nb", What::Joined { by: by(&"long ".repeat(10_000)) }),
        event("__proto__", What::Joined { by: by("constructor") }),
        event("", What::Said { text: "<img src=x>\u{202e}\nsecond line".into() }),
    ];
    let url = load::served(load::Fixed::of(events));
    let mut page = Page::open(&url, DESKTOP);

    page.see("document.querySelectorAll('.card').length === 2");
    let shown = page.eval("document.body.innerText");
    let shown = shown.as_str().unwrap();
    for part in
        ["a\\u{a}b", "\\u{202e}\\u{0}\\u{d}\\u{a}\\u{2028}\\u{200b}end", "__proto__", "constructor"]
    {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    assert!(shown.len() < 5000, "{}", shown.len());
    assert!(!shown.contains(['\u{202e}', '\u{2028}', '\u{200b}', '\0']));
    assert_eq!(page.eval("document.querySelectorAll('img, svg[onload]').length"), 0);
    page.was_fine(&url);
}

#[test]
fn after_the_server_comes_back_the_page_goes_on() {
    let mut scene = Scene::new();
    scene.run(&["acquire", "-t", "10m", "before"]);
    let mut page = scene.open(DESKTOP);
    page.see("document.querySelectorAll('.card').length === 1");
    let address = scene.url.trim_start_matches("http://").trim_end_matches('/').to_owned();

    assert_eq!(end(&mut scene.server), Some(0), "it ends though somebody looks on");
    page.see("document.querySelector('#connection').innerText === 'connection lost, trying again'");
    page.picture("lost");
    scene.run(&["break", "--force", "before"]);
    scene.run(&["acquire", "-t", "10m", "after"]);
    (scene.server, _) = serve(scene.folder.path(), &["--listen", &address]);

    page.see("document.querySelector('#connection').dataset.is === 'live'");
    page.see("document.querySelector('.card .name').innerText === 'after'");
    assert_eq!(page.eval("document.querySelectorAll('.card').length"), 1, "all is anew");
    scene.run(&["acquire", "-t", "10m", "and-on"]);
    page.see("document.querySelectorAll('.card').length === 2");
    page.was_fine(&scene.url);
}

#[test]
fn unreachable_etcd_servers_are_shown_until_they_answer() {
    let mut etcd = lockbydir_etcd_lab::Server::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (server, url) = serve(folder.path(), &["--listen", "127.0.0.1:0", &etcd.url("")]);
    let mut scene = Scene { folder, url, server, others: Vec::new() };
    scene.run(&["acquire", "-q", "-t", "10m", &etcd.url("jobs")]);
    let mut page = scene.open(DESKTOP);
    page.see("document.querySelector('.card').dataset.state === 'held'");

    etcd.kill().unwrap();
    page.see("document.querySelector('#connection').innerText === 'etcd servers unreachable'");
    page.picture("away");
    assert_eq!(page.eval("document.querySelector('.card').dataset.state"), "held", "as seen last");
    etcd.restart().unwrap();

    page.see("document.querySelector('#connection').dataset.is === 'live'");
    assert_eq!(end(&mut scene.server), Some(0));
    page.was_fine(&scene.url);
}

#[test]
fn all_can_be_done_by_keyboard() {
    let mut scene = Scene::new();
    scene.start(&["run", "--label", "one", "jobs", "--", "sleep", "60"]);
    let mut page = scene.open(DESKTOP);
    page.see("document.querySelector('.card')?.dataset.state === 'held'");
    scene.start(&["run", "--label", "two", "jobs", "--", "sleep", "60"]);
    scene.start(&["run", "--label", "other", "other", "--", "sleep", "60"]);
    page.see("document.querySelectorAll('.card').length === 2");
    page.see("document.querySelector('.card .queue').innerText.includes('two')");
    let focused = |page: &mut Page| {
        let outline = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
        assert_eq!(page.eval(outline), true, "who has the focus is seen");
        page.eval("document.activeElement.id || document.activeElement.className")
    };

    for _ in 0..30 {
        page.press("Tab");
        if focused(&mut page) == "card" {
            break;
        }
    }
    page.press("Enter");
    page.see("document.querySelector('#of').innerText === 'jobs'");
    assert_eq!(page.eval("document.querySelector('.card').getAttribute('aria-pressed')"), "true");
    for _ in 0..30 {
        page.press("Tab");
        if focused(&mut page) == "scroller" {
            break;
        }
    }
    page.see("document.querySelector('#lanes').width > 500");
    page.press("ArrowDown");
    page.see("document.querySelector('#facts').textContent.startsWith('one: holds the lock')");
    page.see("!document.querySelector('#tip').hidden");
    page.press("ArrowDown");
    page.see("document.querySelector('#facts').textContent.startsWith('two: queues')");

    page.press(" ");
    page.see("document.querySelector('#pause').getAttribute('aria-pressed') === 'true'");
    page.press("Shift+ArrowLeft");
    page.press("Shift+ArrowLeft");
    page.see("document.querySelector('#tip').hidden");
    page.see("Number(document.querySelector('#back-in-time').value) <= -20");
    page.picture("back-in-time");
    page.press("l");
    page.see("document.querySelector('#live').dataset.is === 'live'");
    page.see("document.querySelector('#back-in-time').value === '0'");
    page.press("-");
    page.see("document.querySelector('#span').value === '2 min'");
    page.press("+");
    page.see("document.querySelector('#span').value === '1 min'");
    page.press("t");
    page.see("document.querySelector('#table tbody').innerText.includes('two')");
    page.press("t");
    page.press("Escape");
    page.press("Escape");
    page.see("document.querySelector('#of').innerText === 'All locks'");
    page.press("/");
    for letter in ["o", "t", "h"] {
        page.press(letter);
    }
    page.see("document.querySelectorAll('.cards li:not([hidden])').length === 1");
    page.press("Escape");
    page.press("?");
    page.see("document.querySelector('#keys').open");
    page.picture("keys");
    page.press("Escape");
    page.see("!document.querySelector('#keys').open");
    page.was_fine(&scene.url);
}

#[test]
fn the_mouse_shows_facts_and_drags_time() {
    let mut scene = Scene::new();
    scene.start(&["run", "--label", "one", "jobs", "--", "sleep", "60"]);
    let mut page = scene.open(DESKTOP);
    page.see("document.querySelector('.card')?.dataset.state === 'held'");
    page.eval("document.querySelector('.card').click()");
    let at = |page: &mut Page, part: &str| {
        let side = format!("document.querySelector('#scroller').getBoundingClientRect().{part}");
        page.eval(&side).as_f64().unwrap()
    };
    page.see("document.querySelector('#axis').width > 500");
    let (right, top, width) =
        (at(&mut page, "right"), at(&mut page, "top"), at(&mut page, "width"));
    let now = right - (width * 0.78) * 0.04 - 3.0;

    // The holding must be some pixels long to be pointed at.
    page.see(&format!("{} > 200", pixels("held")));
    page.mouse("mouseMoved", now, top + 14.0);
    page.see("!document.querySelector('#tip').hidden");
    page.see("document.querySelector('#tip').innerText.includes('holds the lock')");
    page.picture("facts");
    page.mouse("mousePressed", now, top + 14.0);
    page.mouse("mouseMoved", now - 100.0, top + 14.0);
    page.mouse("mouseMoved", now - 40.0, top + 14.0);
    page.mouse("mouseReleased", now - 40.0, top + 14.0);
    assert_eq!(
        page.eval("document.querySelector('#live').dataset.is"),
        "live",
        "no future is shown"
    );
    page.mouse("mousePressed", now - 300.0, top + 14.0);
    page.mouse("mouseMoved", now - 200.0, top + 14.0);
    page.mouse("mouseReleased", now - 200.0, top + 14.0);
    page.see("document.querySelector('#live').dataset.is === 'away'");
    page.was_fine(&scene.url);
}

#[test]
fn it_looks_as_it_should_by_day_by_night_and_on_a_phone() {
    let mut scene = Scene::new();
    for (label, hold) in [("nightly-backup", "1.1"), ("import-orders", "0.7"), ("reindex", "0.4")] {
        let script =
            format!("while :; do \"$0\" run -q --label {label} jobs -- sleep {hold}; done");
        let program = env!("CARGO_BIN_EXE_lockbydir");
        let mut command = Command::new("sh");
        command.args(["-c", &script, program]).current_dir(scene.folder.path());
        scene.others.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }
    scene.run(&["acquire", "-t", "3s", "--label", "forgot to release", "deploy"]);
    scene.start(&["run", "--label", "migrate", "database", "--", "sleep", "60"]);
    scene.start(&["run", "--label", "vacuum", "database", "--", "sleep", "60"]);
    let mut page = scene.open(DESKTOP);
    page.see("performance.now() > 15000");
    let fits = "document.documentElement.scrollWidth <= innerWidth";

    assert_eq!(page.eval("document.documentElement.dataset.theme"), "light");
    assert_eq!(page.eval(fits), true);
    page.picture("light");
    page.look(NIGHT);
    page.see("document.documentElement.dataset.theme === 'dark'");
    page.see(
        "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))) && true",
    );
    page.picture("dark");
    page.press("d");
    page.see("document.documentElement.dataset.theme === 'light'");
    page.press("d");
    page.press("d");
    page.look(PHONE);
    page.see("innerWidth === 360");
    assert_eq!(page.eval(fits), true);
    page.picture("phone-locks");
    page.eval("[...document.querySelectorAll('.card')].at(-1).click()");
    page.see(
        "document.querySelector('#axis').width > 500 && document.activeElement.id === 'scroller'",
    );
    assert_eq!(page.eval(fits), true);
    page.see(&format!("{} > 30", pixels("held")));
    page.picture("phone-lanes");
    page.eval("document.querySelector('#back').click()");
    page.see("document.activeElement.className === 'card'");

    // Nothing moves by itself for a viewer who prefers reduced motion.
    page.look(Looks { is_still: true, ..DESKTOP });
    page.see("document.getAnimations().every((one) => one.playState !== 'running' || !one.animationName)");
    page.was_fine(&scene.url);
}
