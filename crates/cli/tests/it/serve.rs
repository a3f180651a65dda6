//! `serve` as a process: the address that it prints, how it ends, and what it refuses. `tests/page` tests
//! what its page shows, `lockbydir-player` whose requests it answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Folder, Ran};

pub(crate) struct Server {
    child: Child,
    url: String,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Server {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Server { child, url: url.trim_end().to_owned() }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap().split('/').next().unwrap()
    }

    /// Opens the stream of events, and reads the first one.
    pub(crate) fn view(&self) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", self.address()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while !line.starts_with("event: all") {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0);
        }
        reader
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folder: &Folder, args: &[&str]) -> Command {
    let mut command = folder.command(&[&["serve"], args].concat());
    command.env_remove("LOCKBYDIR_SERVE_TOKEN");
    command
}

fn refused(folder: &Folder, args: &[&str], code: i32, words: &str) {
    let mut command = serve(folder, args);
    Ran::of(command.stdin(Stdio::null()).output().unwrap()).refused(code, words);
}

#[test]
fn it_prints_its_address_and_a_signal_ends_it() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let folder = Folder::new();
        let mut server = Server::start(&mut serve(&folder, &["--listen", "localhost:0"]));
        assert!(server.url.starts_with("http://127.0.0.1:"), "{}", server.url);
        let mut viewer = server.view();

        assert_eq!(server.end(signal), Some(0), "{signal:?}");

        // The viewer's stream ends.
        let _ = viewer.read_to_end(&mut Vec::new());
    }
}

#[test]
fn it_shows_the_locks_of_its_folder() {
    let folder = Folder::new();
    let server = Server::start(&mut serve(&folder, &["--listen", "127.0.0.1:0"]));
    let mut viewer = server.view();

    let key = folder.run(&["acquire", "--label", "nightly", "jobs"]).out;
    let mut line = String::new();
    while !line.contains("\"lock\":\"jobs\"") || !line.contains("nightly") {
        line.clear();
        assert!(viewer.read_line(&mut line).unwrap() > 0);
    }

    folder.run(&["release", "jobs", key.trim()]);
}

#[test]
fn a_dead_waiter_is_distinguished_from_one_that_gave_up() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "60s", "jobs"]).out;
    let server = Server::start(&mut serve(&folder, &["--listen", "127.0.0.1:0"]));
    let mut viewer = server.view();
    let mut until = |words: &[&str]| {
        let mut line = String::new();
        while !words.iter().any(|word| line.contains(word)) {
            line.clear();
            assert!(viewer.read_line(&mut line).unwrap() > 0);
        }
        line
    };

    let mut waiter = folder.command(&["run", "-w", "60s", "jobs", "--", "true"]).spawn().unwrap();
    until(&["\"waiting\":1"]);
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    let died = until(&["\"end\":"]);
    folder.run(&["run", "-w", "300ms", "jobs", "--", "true"]).refused(75, "held by");
    let gave_up = until(&["\"end\":\"gave-up\"", "\"end\":\"gone\""]);

    assert!(died.contains("\"end\":\"died\""), "{died}");
    assert!(!gave_up.contains("\"end\":\"died\""), "{gave_up}");
    folder.run(&["release", "jobs", key.trim()]);
}

#[test]
fn a_port_that_another_program_has_is_named() {
    let folder = Folder::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();

    refused(&folder, &["--listen", &address], 74, &format!("listen on {address}: another program"));
}

#[test]
fn where_others_can_reach_it_it_wants_a_token() {
    let folder = Folder::new();

    refused(&folder, &["--listen", "0.0.0.0:0"], 64, "--token");
    refused(&folder, &["--listen", "0.0.0.0:0", "--token", "short"], 64, "at least 16");
    refused(&folder, &["--listen", "example.org:80"], 64, "ADDRESS:PORT");
    refused(&folder, &["--listen", "127.0.0.1:99999"], 64, "ADDRESS:PORT");
    let mut command = serve(&folder, &["--listen", "127.0.0.1:0"]);
    let token = "token-of-16-chars-or-more";
    let server = Server::start(command.env("LOCKBYDIR_SERVE_TOKEN", token));
    assert!(server.url.ends_with(&format!("/?token={token}")), "{}", server.url);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = Folder::new();

    refused(&folder, &["--listen", "127.0.0.1:0", "not-there"], 74, "not-there");
}
