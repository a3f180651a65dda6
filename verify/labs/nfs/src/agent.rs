//! The guest's side of the connection: runs programs for the host, one for each connection, and kills them
//! when the connection breaks.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::ioctl_fionread,
    process::{Pid, Signal, kill_process_group},
};

use crate::{Outcome, wire::Frame};

/// The port of the agent in each guest.
pub const PORT: u16 = 9000;
/// The longest wait until a signal has taken effect: a process that waits for a dead server receives it only
/// when the server is back.
const LONGEST: Duration = Duration::from_secs(60);
/// The interval between checks whether the signal has taken effect.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Serves connections for ever.
///
/// # Errors
/// If the port is not available.
pub fn serve() -> Outcome<()> {
    for stream in TcpListener::bind(("0.0.0.0", PORT))?.incoming().flatten() {
        thread::spawn(move || {
            if let Err(error) = serve_connection(stream) {
                eprintln!("agent: {error}");
            }
        });
    }
    Ok(())
}

/// The connection to the host, shared by threads that send whole frames, one after the other.
type Back = Arc<Mutex<TcpStream>>;

fn send(back: &Back, frame: &Frame) -> io::Result<()> {
    frame.write(&mut *back.lock().unwrap_or_else(PoisonError::into_inner))
}

fn serve_connection(mut stream: TcpStream) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let Frame::Start(command) = Frame::read(&mut stream)? else {
        return Err("a connection that does not begin with a program".into());
    };
    let command: Vec<String> = serde_json::from_slice(&command)?;
    let back: Back = Arc::new(Mutex::new(stream.try_clone()?));
    let Some((program, arguments)) = command.split_first() else {
        return Err("no program".into());
    };
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            send(&back, &Frame::Trouble(format!("{program}: {error}\n").into_bytes()))?;
            send(&back, &Frame::Ended(127))?;
            return Ok(());
        }
    };
    let pid = child.id();
    send(&back, &Frame::Born(pid))?;
    let (input, output, trouble) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(output), Some(trouble)) = (output, trouble) else { return Err("no pipes".into()) };
    let output_pipe = output.as_fd().try_clone_to_owned()?;
    let pumps = [
        pump(output, Arc::clone(&back), Frame::Output),
        pump(trouble, Arc::clone(&back), Frame::Trouble),
    ];
    let end = thread::spawn({
        let back = Arc::clone(&back);
        move || end(child, pumps, &back)
    });
    execute(stream, pid, input, output_pipe.as_fd(), &back);
    // The host has disconnected, or the process has ended.
    signal(pid, Signal::KILL);
    let _ = end.join();
    Ok(())
}

/// Forwards all output. Holding the lock makes reading and sending one step for the other threads.
fn pump(
    mut from: impl Read + AsFd + Send + 'static,
    back: Back,
    frame: fn(Vec<u8>) -> Frame,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut bytes = [0; 1 << 14];
        loop {
            let _ = poll(&mut [PollFd::new(&from, PollFlags::IN)], None);
            let mut back = back.lock().unwrap_or_else(PoisonError::into_inner);
            match from.read(&mut bytes) {
                Ok(length @ 1..) => {
                    if frame(bytes[..length].to_vec()).write(&mut *back).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    })
}

/// Reports how the process ended, after all its output.
fn end(mut child: Child, pumps: [thread::JoinHandle<()>; 2], back: &Back) {
    let status = child.wait();
    for pump in pumps {
        let _ = pump.join();
    }
    let code = status
        .map_or(255, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
    let _ = send(back, &Frame::Ended(code.cast_unsigned()));
    let _ = back.lock().unwrap_or_else(PoisonError::into_inner).shutdown(std::net::Shutdown::Both);
}

/// Executes the host's frames until the connection ends.
fn execute(
    mut stream: TcpStream,
    pid: u32,
    mut input: Option<ChildStdin>,
    output: BorrowedFd<'_>,
    back: &Back,
) {
    while let Ok(frame) = Frame::read(&mut stream) {
        match frame {
            Frame::Input(bytes) if bytes.is_empty() => input = None,
            // A process that does not read gets no input.
            Frame::Input(bytes) => drop(input.as_mut().map(|input| input.write_all(&bytes))),
            Frame::Signal(number) => {
                if let Some(known) = Signal::from_named_raw(i32::from(number)) {
                    signal(pid, known);
                    await_felt(pid, known, output, back);
                }
            }
            _ => return,
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It fails only if all processes of the group are gone.
        let _ = kill_process_group(group, signal);
    }
}

/// Waits until the signal has taken effect and all earlier output is sent; then reports that.
fn await_felt(pid: u32, signal: Signal, output: BorrowedFd<'_>, back: &Back) {
    let begun = Instant::now();
    let is_felt = |state| match signal {
        Signal::STOP => matches!(state, 'T' | 'Z' | 'X'),
        Signal::KILL => matches!(state, 'Z' | 'X'),
        _ => true,
    };
    while begun.elapsed() < LONGEST {
        if is_felt(state(pid)) {
            let mut back = back.lock().unwrap_or_else(PoisonError::into_inner);
            if ioctl_fionread(output).unwrap_or(0) == 0 {
                let _ = Frame::Felt.write(&mut *back);
                return;
            }
        }
        // Not to synchronise: the interval between two checks.
        thread::sleep(CHECK_INTERVAL);
    }
}

/// Returns the letter of the process's state; `X` if it is gone.
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('X')
}
