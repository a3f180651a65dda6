//! Tests of the page's server by plain HTTP: whom it answers, with what, and whom it refuses.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lockbydir_player::serve::{self, Options};
use lockbydir_player::{Contender, Error, Event, How, Source, What};
use serde_json::Value;

use crate::{acquired, event, joined, who};

const TOKEN: &str = "0123456789-abcdef";

/// A source of the events that the test sends; it is over when the sender is dropped.
struct Script(Receiver<Event>, bool);

impl Source for Script {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        match self.0.recv_timeout(up_to) {
            Ok(event) => Ok(std::iter::once(event).chain(self.0.try_iter()).collect()),
            Err(RecvTimeoutError::Timeout) => Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => {
                self.1 = true;
                Ok(Vec::new())
            }
        }
    }

    fn now(&self) -> f64 {
        1000.0
    }

    fn is_over(&self) -> bool {
        self.1
    }
}

struct Server {
    url: String,
    events: Option<Sender<Event>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Server {
    fn start(options: Options) -> Server {
        let (sender, events) = channel();
        let (ready, is_ready) = channel();
        let options = Options { linger: Some(Duration::ZERO), ..options };
        let run = move || {
            let source = Box::new(Script(events, false));
            serve::serve(source, options, |url| ready.send(url.to_owned()).unwrap())
        };
        let thread = std::thread::spawn(run);
        let url = is_ready.recv().expect("it listens");
        Server { url, events: Some(sender), thread: Some(thread) }
    }

    fn on_loopback() -> Server {
        Server::start(Options { listen: "127.0.0.1:0".into(), ..Options::default() })
    }

    fn guarded() -> Server {
        let (listen, token) = ("127.0.0.1:0".into(), Some(TOKEN.into()));
        let hosts = vec!["web1.example:7654".into()];
        Server::start(Options { listen, token, hosts, ..Options::default() })
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap().split('/').next().unwrap()
    }

    fn port(&self) -> &str {
        self.address().rsplit(':').next().unwrap()
    }

    fn send(&self, event: Event) {
        self.events.as_ref().unwrap().send(event).unwrap();
    }

    /// Returns the whole answer to these lines.
    fn say(&self, lines: &[&str]) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.write_all(lines.join("\r\n").as_bytes()).unwrap();
        stream.write_all(b"\r\nConnection: close\r\n\r\n").unwrap();
        // The answer may be a stream that never ends.
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (mut said, until) = (Vec::new(), Instant::now() + Duration::from_secs(5));
        let mut part = [0; 65536];
        while let Ok(read @ 1..) = stream.read(&mut part)
            && Instant::now() < until
        {
            said.extend_from_slice(&part[..read]);
        }
        String::from_utf8(said).unwrap()
    }

    fn host(&self) -> String {
        format!("Host: {}", self.address())
    }

    #[track_caller]
    fn answers(&self, lines: &[&str], status: u16) -> String {
        let said = self.say(lines);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{lines:?}: {said}");
        said
    }

    fn view(&self) -> Viewer {
        Viewer::of(self, &[]).expect("a seat")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.events.take());
        let done = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            done.unwrap().unwrap();
        }
    }
}

/// A viewer of the event stream.
struct Viewer(BufReader<TcpStream>);

impl Viewer {
    /// Returns `None` if the server has no seat for it.
    fn of(server: &Server, headers: &[&str]) -> Option<Viewer> {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let host = server.host();
        let lines = [&["GET /events HTTP/1.1", &host], headers].concat().join("\r\n");
        stream.write_all(format!("{lines}\r\n\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        if status.starts_with("HTTP/1.1 503 ") {
            return None;
        }
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
        Some(Viewer(reader))
    }

    /// Returns the next message of this kind.
    fn next(&mut self, kind: &str) -> Value {
        let wanted = format!("event: {kind}");
        loop {
            let line = self.line().expect("the stream goes on");
            if line == wanted {
                let data = self.line().unwrap();
                return serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }
}

#[test]
fn the_page_is_complete_and_may_run_nothing_else() {
    let server = Server::on_loopback();

    let page = server.answers(&["GET / HTTP/1.1", &server.host()], 200);

    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    let nonce = head.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(nonce.len(), 32);
    assert_eq!(body.matches(nonce).count(), 2, "one style, one script");
    for line in [
        "default-src 'none'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.contains(line), "no `{line}` in {head}");
    }
    for outside in ["src=\"http", "href=\"http", "url(http", "@import", "NONCE", "/*s"] {
        assert!(!body.contains(outside), "{outside}");
    }
    let again = server.answers(&["GET / HTTP/1.1", &server.host()], 200);
    assert!(!again.contains(nonce), "it is used once");
}

#[test]
fn a_viewer_is_sent_everything_and_then_changes() {
    let server = Server::on_loopback();
    server.send(event(1000.0, acquired("a", 7, How::Free)));
    let mut early = server.view();
    while early.next("all")["cards"].as_array().unwrap().is_empty() {
        early = server.view();
    }

    server.send(event(1001.0, joined("b")));
    let change = early.next("changes");

    assert_eq!(change["cards"][0]["waiting"], 1);
    assert_eq!(change["lanes"].as_array().unwrap().len(), 1);
    assert_eq!(change["lanes"][0]["spans"][0]["kind"], "waiting");
    let all = server.view().next("all");
    assert_eq!(all["lanes"].as_array().unwrap().len(), 2);
    assert_eq!(all["cards"][0]["queue"][0]["lane"], change["lanes"][0]["number"]);
}

#[test]
fn a_viewer_that_falls_behind_is_sent_everything_anew() {
    let server = Server::on_loopback();
    let (mut slow, mut quick) = (server.view(), server.view());
    slow.next("all");
    quick.next("all");

    // First more than the network buffers for a viewer that does not read, then more than the
    // server does.
    for number in 0..50 {
        let length = if number < 12 { 1_000_000 } else { 1 };
        let text = format!("{number} {}", "x".repeat(length));
        server.send(event(1000.0, What::Said { text }));
        quick.next("changes");
    }
    let all = slow.next("all");

    let said = all["said"].as_array().unwrap();
    assert!(said.len() > 30 && said[0][1].as_str().unwrap().starts_with("0 "), "{}", said.len());
}

#[test]
fn hostile_text_is_only_text_in_the_stream() {
    let server = Server::on_loopback();
    let hostile =
        "</script><img src=x onerror=alert(1)>\n\ndata: \"x\"\r\nevent: all\u{202e}\u{2028}";
    let by = Contender { label: Some(hostile.into()), ..crate::who("a") };
    let lock = hostile.to_owned();
    server.send(Event { at: 1000.0, lock, what: What::Joined { by } });
    let mut all = server.view().next("all");
    while all["cards"].as_array().unwrap().is_empty() {
        all = server.view().next("all");
    }

    assert_eq!(all["cards"][0]["lock"], hostile);
    assert_eq!(all["lanes"][0]["who"]["label"], hostile);
}

#[test]
fn only_get_and_head_are_answered() {
    let server = Server::on_loopback();
    let host = server.host();

    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREAK"] {
        let said = server.answers(&[&format!("{method} / HTTP/1.1"), &host], 405);
        assert!(said.contains("allow: GET, HEAD"), "{said}");
    }
    let said = server.answers(&["HEAD / HTTP/1.1", &host], 200);
    assert!(said.ends_with("\r\n\r\n"), "no body");
    server.answers(&["HEAD /events HTTP/1.1", &host], 200);
    for path in ["/x", "/events/", "/../etc/passwd", "/%2e%2e/", "//", "/page/main.js"] {
        server.answers(&[&format!("GET {path} HTTP/1.1"), &host], 404);
    }
}

#[test]
fn another_name_that_resolves_to_us_is_refused() {
    let server = Server::on_loopback();
    let port = server.port().to_owned();

    let ours = ["127.0.0.1", "localhost", "LocalHost", "127.0.0.2", "[::1]"];
    for name in ours {
        server.answers(&["GET / HTTP/1.1", &format!("Host: {name}:{port}")], 200);
    }
    let others = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"];
    for name in others {
        for path in ["/", "/events"] {
            let get = format!("GET {path} HTTP/1.1");
            let said = server.answers(&[&get, &format!("Host: {name}:{port}")], 403);
            assert!(said.contains("--host NAME:PORT"), "{said}");
        }
    }
    for host in ["127.0.0.1", "localhost:1", "localhost", "", "127.0.0.1:7654:7654", "a b"] {
        server.answers(&["GET /events HTTP/1.1", &format!("Host: {host}")], 403);
    }
    let nameless = server.say(&["GET /events HTTP/1.0", "Accept: */*"]);
    assert!(nameless.starts_with("HTTP/1.0 403 "), "{nameless}");
    let twice = [&server.host(), "Host: evil.example"];
    assert!(!server.say(&["GET /events HTTP/1.1", twice[0], twice[1]]).contains("200 OK"));
}

#[test]
fn another_origin_is_refused() {
    let server = Server::on_loopback();
    let (host, port) = (server.host(), server.port().to_owned());
    let get = "GET /events HTTP/1.1";

    let others =
        ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1", "file://", ""];
    for origin in others {
        server.answers(&[get, &host, &format!("Origin: {origin}")], 403);
    }
    server.answers(&[get, &host, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"], 403);
    server.answers(&[get, &host, "Sec-Fetch-Site: same-site"], 403);

    let ours = format!("Origin: http://127.0.0.1:{port}");
    assert!(Viewer::of(&server, &[&ours, "Sec-Fetch-Site: same-origin"]).is_some());
    let visit = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    server.answers(&["GET / HTTP/1.1", &host, visit[0], visit[1]], 200);
}

#[test]
fn with_a_token_only_those_who_know_it_see_the_page() {
    let server = Server::guarded();
    let (host, port) = (server.host(), server.port().to_owned());
    assert_eq!(server.url, format!("http://127.0.0.1:{port}/?token={TOKEN}"));
    let events = "GET /events HTTP/1.1";

    for path in ["/", "/events", "/?token=", "/?token=0123456789-abcdeg", "/?x", "/nothing"] {
        let said = server.answers(&[&format!("GET {path} HTTP/1.1"), &host], 401);
        assert!(!said.contains("set-cookie") && !said.contains("<html"), "{said}");
    }
    for wrong in ["", "0123456789-abcde", "0123456789-abcdefg", "0123456789-ABCDEF"] {
        server.answers(&[events, &host, &format!("Authorization: Bearer {wrong}")], 401);
        server.answers(&[events, &host, &format!("Cookie: lockbydir-{port}={wrong}")], 401);
    }

    let given = server.answers(&[&format!("GET /?token={TOKEN} HTTP/1.1"), &host], 303);
    let cookie = format!("lockbydir-{port}={TOKEN}");
    assert!(given.contains(&format!("set-cookie: {cookie}; Path=/; HttpOnly; SameSite=Strict")));
    assert!(given.contains("location: /\r\n"));
    let with_cookie = format!("Cookie: other=1; {cookie}");
    server.answers(&["GET / HTTP/1.1", &host, &with_cookie], 200);
    assert!(Viewer::of(&server, &[&with_cookie]).is_some());
    assert!(Viewer::of(&server, &[&format!("Authorization: Bearer {TOKEN}")]).is_some());
    // The token does not admit other names.
    let other = format!("Host: evil.example:{port}");
    server.answers(&[events, &other, &with_cookie], 403);
    server.answers(&["GET / HTTP/1.1", "Host: web1.example:7654", &with_cookie], 200);
}

#[test]
fn a_public_address_requires_a_token() {
    let refused = |listen: &str, token: Option<&str>| {
        let (listen, token) = (listen.to_owned(), token.map(str::to_owned));
        let source = Box::new(Script(channel().1, false));
        let options = Options { listen, token, linger: Some(Duration::ZERO), ..Options::default() };
        match serve::serve(source, options, |_| {}) {
            Err(Error::Usage(why)) => why,
            other => panic!("{other:?}"),
        }
    };

    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        assert!(refused(listen, None).contains("--token"), "{listen}");
    }
    for listen in ["", "7654", "127.0.0.1", "localhost", "example.org:80", "localhost:x", "::1:80"]
    {
        assert!(refused(listen, None).contains("ADDRESS:PORT"), "{listen}");
    }
    for token in ["", "short", "fifteen-letters", "sixteen letters!", "0123456789abcdef;x=1"] {
        assert!(refused("127.0.0.1:0", Some(token)).contains("at least 16"), "{token}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::on_loopback();
    let listen = server.address().to_owned();

    let source = Box::new(Script(channel().1, false));
    let failed = serve::serve(source, Options { listen, ..Options::default() }, |_| {});

    let message = failed.unwrap_err().to_string();
    assert!(message.contains(server.address()) && message.contains("another program"), "{message}");
}

#[test]
fn seats_are_limited_and_freed_when_a_viewer_leaves() {
    let server = Server::on_loopback();
    let mut viewers: Vec<Viewer> = (0..256).map(|_| server.view()).collect();

    let one_more = Viewer::of(&server, &[]);
    assert!(one_more.is_none());
    server.answers(&["GET / HTTP/1.1", &server.host()], 200);
    viewers.pop().unwrap().0.into_inner().shutdown(Shutdown::Both).unwrap();
    // The server notices when it sends something to it.
    server.send(event(1000.0, What::Released { by: who("a") }));

    let until = Instant::now() + Duration::from_secs(60);
    while Viewer::of(&server, &[]).is_none() {
        assert!(Instant::now() < until, "its seat is not free");
    }
}

#[test]
fn garbage_does_no_harm() {
    let server = Server::on_loopback();
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        // The server may close the connection in the middle.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
    };

    send(b"");
    send(b"\0\xff\xfe\r\n\r\n");
    send(b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n");
    send(&[b"GET /", "a".repeat(1 << 20).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat());
    send(&[b"GET / HTTP/1.1\r\n".as_slice(), "a: b\r\n".repeat(100_000).as_bytes()].concat());

    server.answers(&["GET / HTTP/1.1", &server.host()], 200);
}

#[test]
fn slow_unadmitted_connections_do_not_block_viewers() {
    let server = Server::guarded();
    let connect = |_| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        stream
    };
    let mut connections: Vec<TcpStream> = (0..400).map(connect).collect();
    let begun = Instant::now();

    let bearer = format!("Authorization: Bearer {TOKEN}");
    let mut viewers: Vec<Viewer> =
        (0..3).map(|_| Viewer::of(&server, &[&bearer]).expect("a seat")).collect();
    viewers.iter_mut().for_each(|viewer| drop(viewer.next("all")));
    server.answers(&["GET / HTTP/1.1", &server.host(), &bearer], 200);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");

    // They are closed although each goes on sending, and is never idle.
    let is_open = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let read = stream.write_all(b"x").and_then(|()| stream.read(&mut [0; 512]));
        matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    };
    while !connections.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(40), "{} are left", connections.len());
        connections.retain_mut(is_open);
        std::thread::sleep(Duration::from_millis(100));
    }
    server.send(event(1001.0, joined("b")));
    viewers.iter_mut().for_each(|viewer| drop(viewer.next("changes")));
}

#[test]
fn an_unadmitted_connection_may_send_only_so_much() {
    let server = Server::guarded();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let with = |length: usize| {
        let (host, much) = (server.host(), format!("A: {}", "b".repeat(length)));
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let lines = ["GET / HTTP/1.1", &host, &bearer, &much, "", ""].join("\r\n");
        // The server may close the connection in the middle.
        let _ = stream.write_all(lines.as_bytes());
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        said.starts_with(b"HTTP/1.1 200 ")
    };

    assert!(with(30_000));
    assert!(!with(100_000));
}
