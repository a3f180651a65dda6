//! A proxy in front of a server, which loses answers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

/// Forwards all requests to a server, and a limited number of bytes of its answers back; then it hangs
/// up, also on all later connections.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    left: Arc<AtomicI64>,
}

impl Proxy {
    pub(crate) fn start(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let left = Arc::new(AtomicI64::new(i64::MAX / 2));
        let bytes = left.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, bytes) = (TcpStream::connect(&server).unwrap(), bytes.clone());
                let pairs = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass(pairs.0, pairs.1, None));
                thread::spawn(move || pass(server, client, Some(bytes)));
            }
        });
        Proxy { address, left }
    }

    /// Lets this many more bytes of answers pass.
    pub(crate) fn allow(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// Returns true if it has lost an answer.
    pub(crate) fn has_hung_up(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, left: Option<Arc<AtomicI64>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let size = i64::try_from(read).unwrap();
        if left.as_ref().is_some_and(|left| left.fetch_sub(size, Ordering::SeqCst) < size) {
            break;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
