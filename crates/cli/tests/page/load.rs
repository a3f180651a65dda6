//! Large numbers of everything: how smooth the page is, and what many viewers cost.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use lockbydir_player::serve::{self, Options};
use lockbydir_player::{Contender, Error, Event, How, Source, What, Why};

use crate::browser::{DESKTOP, Page};

/// Locks that change hands all the time, each with a queue.
struct Crowd {
    locks: usize,
    waiters: usize,
    /// Handoffs a second, for all locks together.
    rate: f64,
    begun: Instant,
    done: u64,
}

pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

impl Crowd {
    fn new(locks: usize, waiters: usize, rate: f64) -> Crowd {
        Crowd { locks, waiters, rate, begun: Instant::now(), done: 0 }
    }

    fn who(lock: usize, number: usize) -> Contender {
        Contender {
            id: format!("{lock}-{number}"),
            host: "web1".into(),
            pid: Some(u32::try_from(1000 + number).unwrap()),
            command: Some("worker".into()),
            label: Some(format!("worker {number}")),
            since: None,
        }
    }

    fn event(lock: usize, what: What) -> Event {
        Event { at: now(), lock: format!("lock-{lock:03}"), what }
    }

    fn acquired(lock: usize, number: usize, token: u64) -> Event {
        let (timeout_s, remaining_s, how) = (10.0, 10.0, How::HandedOver);
        let by = Crowd::who(lock, number);
        Crowd::event(lock, What::Acquired { by, token, timeout_s, remaining_s, how })
    }
}

impl Source for Crowd {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        if self.done == 0 {
            for lock in 0..self.locks {
                events.push(Crowd::acquired(lock, 0, 0));
                for number in 1..=self.waiters {
                    let by = Crowd::who(lock, number);
                    events.push(Crowd::event(lock, What::Joined { by }));
                }
            }
            self.done = 1;
            self.begun = Instant::now();
            return Ok(events);
        }
        let due = |done: u64| Duration::from_secs_f64(done as f64 / self.rate);
        let wait = due(self.done).saturating_sub(self.begun.elapsed()).min(up_to);
        std::thread::sleep(wait);
        while due(self.done) <= self.begun.elapsed() && events.len() < 1000 {
            let lock = usize::try_from(self.done).unwrap() % self.locks;
            let turn = usize::try_from(self.done).unwrap() / self.locks;
            let all = self.waiters + 1;
            let (by, next) = (Crowd::who(lock, turn % all), Crowd::who(lock, (turn + 1) % all));
            events.push(Crowd::event(lock, What::Released { by: by.clone() }));
            events.push(Crowd::event(lock, What::Left { by: next, why: Why::Served, ago_s: 0.0 }));
            events.push(Crowd::acquired(lock, (turn + 1) % all, self.done));
            events.push(Crowd::event(lock, What::Joined { by }));
            self.done += 1;
        }
        Ok(events)
    }
}

/// A source of these events and no others.
pub(crate) struct Fixed(Vec<Event>);

impl Fixed {
    pub(crate) fn of(events: Vec<Event>) -> Fixed {
        Fixed(events)
    }
}

impl Source for Fixed {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        if self.0.is_empty() {
            std::thread::sleep(up_to);
        }
        Ok(std::mem::take(&mut self.0))
    }
}

/// Serves a source in this process, as long as the process lives. Returns the address.
pub(crate) fn served(source: impl Source + 'static) -> String {
    let (ready, is_ready) = channel();
    let options =
        Options { listen: "127.0.0.1:0".into(), title: "a crowd".into(), ..Options::default() };
    let serve = move || {
        serve::serve(Box::new(source), options, |url| ready.send(url.to_owned()).unwrap()).unwrap();
    };
    std::thread::spawn(serve);
    is_ready.recv().unwrap()
}

/// Measures the milliseconds from frame to frame: the median, and the 95th percentile.
fn frames(page: &mut Page, count: usize) -> (f64, f64) {
    let measured = page.eval(&format!(
        "new Promise((done) => {{
           const times = [];
           const each = (at) => {{
             times.push(at);
             if (times.length <= {count}) requestAnimationFrame(each);
             else done(times.slice(1).map((at, i) => at - times[i]).sort((one, two) => one - two));
           }};
           requestAnimationFrame(each);
         }})"
    ));
    let times: Vec<f64> =
        measured.as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
    (times[times.len() / 2], times[times.len() * 95 / 100])
}

/// Returns the processor time that this process has used, in seconds.
fn worked() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

fn smooth(locks: usize, waiters: usize, rate: f64, picture: &str, bound: f64) {
    let url = served(Crowd::new(locks, waiters, rate));
    let mut page = Page::open(&url, DESKTOP);
    page.see(&format!("document.querySelectorAll('.card').length === {locks}"));
    page.see("document.querySelector('#connection').dataset.is === 'live'");

    let ((all, script), begun) = (page.worked(), Instant::now());
    let (middle, slow) = frames(&mut page, 200);
    let ((all_then, script_then), took) = (page.worked(), begun.elapsed().as_secs_f64());
    let share = |before: f64, after: f64| 100.0 * (after - before) / took;
    println!(
        "{locks} locks, {waiters} waiters each, {rate} handoffs/s, all: {middle:.0} ms a frame, 95 % below {slow:.0} ms"
    );
    println!(
        "  at work {:.0} % of the time, its script {:.0} %",
        share(all, all_then),
        share(script, script_then)
    );
    page.picture(picture);
    page.eval("document.querySelectorAll('.card')[3].click()");
    let (of_one, slow_of_one) = frames(&mut page, 200);
    println!("  one lock: {of_one:.0} ms, 95 % below {slow_of_one:.0} ms");
    page.picture(&format!("{picture}-one"));

    assert!(middle.max(of_one) < bound, "{middle} {of_one}");
    page.was_fine(&url);
}

#[test]
fn a_hundred_locks_with_a_thousand_waiters_are_smooth() {
    smooth(100, 10, 300.0, "crowd", 50.0);
}

#[test]
fn a_hundred_locks_with_a_thousand_waiters_each_are_usable() {
    smooth(100, 1000, 300.0, "huge-crowd", 150.0);
}

#[test]
fn a_hundred_viewers_see_changes_soon() {
    let url = served(Crowd::new(10, 10, 20.0));
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let view = |_| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        read_event(&mut reader, "event: all");
        reader
    };
    let viewers: Vec<_> = (0..100).map(view).collect();

    let (before, begun) = (worked(), Instant::now());
    let delays: Vec<f64> = std::thread::scope(|scope| {
        let all: Vec<_> = viewers
            .into_iter()
            .map(|mut viewer| {
                scope.spawn(move || (0..50).map(|_| next_delay(&mut viewer)).collect::<Vec<_>>())
            })
            .collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    let share = (worked() - before) / begun.elapsed().as_secs_f64();

    let mut delays = delays;
    delays.sort_by(f64::total_cmp);
    let (middle, slow) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
    println!(
        "100 viewers, 20 handoffs/s: notified after {:.0} ms, 99 % within {:.0} ms; server and viewers take {:.0} % of a processor",
        middle * 1e3,
        slow * 1e3,
        share * 100.0
    );
    assert!(middle < 0.5, "{middle}");
}

/// Reads up to this line, and returns the next one.
fn read_event(viewer: &mut impl BufRead, line: &str) -> String {
    loop {
        let mut read = String::new();
        assert!(viewer.read_line(&mut read).unwrap() > 0, "the stream goes on");
        if read.trim_end() == line {
            read.clear();
            viewer.read_line(&mut read).unwrap();
            return read;
        }
    }
}

/// Reads the next change, and returns how long after the server knew of it.
fn next_delay(viewer: &mut impl BufRead) -> f64 {
    let data = read_event(viewer, "event: changes");
    let changes: serde_json::Value =
        serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    now() - changes["now"].as_f64().unwrap()
}
