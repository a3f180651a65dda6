//! The process of a worker: a child of this process, or a process in a guest.

use std::{
    io::{PipeWriter, Write},
    process::Child,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use lockbydir_nfs_lab::{Ended, Guest, Mouth, Process, Sink};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{contender::Outcome, store_client};
use crate::{scripted_worker, store::Store};

/// The longest wait until a signal has arrived.
const SIGNAL_WAIT: Duration = Duration::from_secs(5);

/// One process.
#[derive(Debug)]
pub(crate) enum WorkerProcess {
    /// On this machine.
    Local(Child),
    /// In a guest.
    InGuest(Process),
}

impl WorkerProcess {
    /// Starts a worker in a guest: its history is written into the pipe, a whole line at a time, and the
    /// store answers its questions.
    pub(crate) fn in_guest(
        guest: &Guest,
        command: &[&str],
        mut pipe: PipeWriter,
        store: Store,
    ) -> Outcome<Self> {
        let stdin: Arc<OnceLock<Mouth>> = Arc::default();
        let known = Arc::clone(&stdin);
        let mut unfinished = Vec::new();
        let on_output: Sink = Box::new(move |bytes, is_stderr| {
            if is_stderr {
                eprint!("{}", String::from_utf8_lossy(bytes));
                return;
            }
            unfinished.extend_from_slice(bytes);
            while let Some(length) = unfinished.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = unfinished.drain(..=length).collect();
                match store_client::asked(&line) {
                    Some(token) => answer(&store, token, known.wait()),
                    // At the end nobody reads the pipe any more.
                    None => drop(pipe.write_all(&line)),
                }
            }
        });
        let process = guest.start(command, on_output).map_err(|error| error.to_string())?;
        let _ = stdin.set(process.stdin());
        Ok(Self::InGuest(process))
    }

    /// Returns its PID, on its own machine.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Local(child) => child.id(),
            Self::InGuest(process) => process.pid().unwrap_or(0),
        }
    }

    /// Sends a signal to it and its children. In a guest, returns after the signal has arrived.
    pub(crate) fn signal(&self, signal: Signal) {
        match self {
            Self::Local(child) => {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    // It fails only if all processes of the group are gone.
                    let _ = kill_process_group(group, signal);
                }
            }
            Self::InGuest(process) => drop(process.signal(signal, SIGNAL_WAIT)),
        }
    }

    /// Stops it, and waits until it is stopped and its earlier output is read.
    pub(crate) fn stop(&self, patience: Duration) {
        let begun = Instant::now();
        self.signal(Signal::STOP);
        if let Self::Local(child) = self {
            while !scripted_worker::is_stopped(child.id()) && begun.elapsed() < patience {
                thread::yield_now();
            }
        }
        // Not to synchronise: its earlier output must be read.
        thread::sleep(Duration::from_millis(2));
    }

    /// Asks the process to end, by the end of its standard input.
    pub(crate) fn request_end(&mut self) {
        match self {
            Self::Local(child) => drop(child.stdin.take()),
            // A process that is gone needs no message.
            Self::InGuest(process) => {
                drop(process.stdin().say(format!("{}\n", store_client::END).as_bytes()))
            }
        }
    }

    /// Returns how it ended, if it did; `Ok` is success.
    pub(crate) fn ended(&mut self) -> Outcome<Option<Result<(), String>>> {
        Ok(match self {
            Self::Local(child) => child.try_wait()?.map(|status| match status.success() {
                true => Ok(()),
                false => Err(status.to_string()),
            }),
            Self::InGuest(process) => process.ended().map(result),
        })
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> Outcome<Result<(), String>> {
        Ok(match self {
            Self::Local(child) => match child.wait()? {
                status if status.success() => Ok(()),
                status => Err(status.to_string()),
            },
            Self::InGuest(process) => {
                result(process.wait(Duration::from_secs(120)).unwrap_or(Ended::Lost))
            }
        })
    }
}

fn result(ended: Ended) -> Result<(), String> {
    match ended {
        Ended::Code(0) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn answer(store: &Store, token: u64, stdin: &Mouth) {
    let answer = match store.write(token) {
        Ok(answer) => {
            let word = if answer.accepted { "accepted" } else { "refused" };
            format!("{word} {}\n", answer.moment)
        }
        Err(error) => format!("failed {error}\n"),
    };
    // A worker that is gone reads nothing.
    let _ = stdin.say(answer.as_bytes());
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if let Self::Local(child) = self
            && matches!(child.try_wait(), Ok(None))
        {
            self.signal(Signal::KILL);
            if let Self::Local(child) = self {
                let _ = child.wait();
            }
        }
    }
}
