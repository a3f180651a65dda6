//! A proxy in front of a server that keeps requests back, and sends them on when nobody waits for them any
//! more.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// The bytes with which a client of HTTP/2 begins, and those with which each frame begins.
const PREFACE: usize = 24;
const FRAME: usize = 9;
/// The kinds of frames: one begins a request, one gives it up, one gives up all.
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const GO_AWAY: u8 = 7;

/// Forwards requests and answers. A client that gives a request up cannot take it back: the server gets
/// the request all the same.
pub(crate) struct Delay {
    pub(crate) address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The number of requests that may still pass; none: all.
    passing: Option<u32>,
    /// The number of connections with a request that is kept back.
    kept_back: u32,
}

impl Delay {
    pub(crate) fn start(server: String) -> Delay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Gate::default());
        let shared = gate.clone();
        // Its threads end with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, gate) = (TcpStream::connect(&server).unwrap(), shared.clone());
                let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = forward(pair.0, &pair.1, &gate);
                    // The server must not see that the client is gone.
                    loop {
                        thread::park();
                    }
                });
                thread::spawn(move || answer(server, client));
            }
        });
        Delay { address, gate }
    }

    /// Keeps back all requests but this number.
    pub(crate) fn keep_back_after(&self, number: u32) {
        self.gate.state.lock().unwrap().passing = Some(number);
    }

    /// Returns true if a request is kept back.
    pub(crate) fn has_kept_back(&self) -> bool {
        self.gate.state.lock().unwrap().kept_back > 0
    }

    /// Sends on what was kept back, and all later requests.
    pub(crate) fn let_go(&self) {
        self.gate.state.lock().unwrap().passing = None;
        self.gate.changed.notify_all();
    }
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        if state.passing == Some(0) {
            state.kept_back += 1;
            state = self.changed.wait_while(state, |state| state.passing == Some(0)).unwrap();
            state.kept_back -= 1;
        }
        state.passing = state.passing.map(|left| left - 1);
    }
}

fn forward(mut client: TcpStream, mut server: &TcpStream, gate: &Gate) -> io::Result<()> {
    let mut preface = [0; PREFACE];
    client.read_exact(&mut preface)?;
    server.write_all(&preface)?;
    loop {
        let mut head = [0; FRAME];
        client.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut frame = head.to_vec();
        io::copy(&mut (&mut client).take(length.into()), &mut frame)?;
        match head[3] {
            RESET | GO_AWAY => continue,
            HEADERS => gate.pass(),
            _ => {}
        }
        server.write_all(&frame)?;
    }
}

fn answer(mut server: TcpStream, mut client: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        // The client may be gone.
        let _ = client.write_all(&buffer[..read]);
    }
}
