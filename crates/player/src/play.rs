//! A play: processes that lock in a folder of their own, seen live. What they say is heard, and
//! everything ends when this does. What they are is said by who starts them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::background::spawn;
use crate::error::Error;
use crate::event::{Event, What};
use crate::source::{Live, Source};

/// Who has been silent so long, after all ended, has told everything.
const SILENCE: Duration = Duration::from_millis(250);
/// The stage has so long to end its processes.
const GRACE: Duration = Duration::from_secs(5);

/// Processes that play with locks.
#[derive(Debug)]
pub struct Play {
    told: Receiver<Told>,
    /// Standard output and standard error, as long as somebody can still say something there.
    voices: usize,
    has_ended: Arc<AtomicBool>,
    is_over: bool,
    ending: Ending,
}

/// What runs, and where.
#[derive(Debug)]
struct Stage {
    child: Child,
    code: Option<i32>,
    folder: Option<TempDir>,
}

#[derive(Debug)]
enum Told {
    Events(Vec<Event>),
    Failed(Error),
    Silent,
    All,
}

/// How a play ends.
#[derive(Clone, Debug)]
pub struct Ending(Arc<Mutex<Stage>>);

impl Ending {
    /// Ends it now, if it has not ended: then nothing of it runs any more, and its folder is gone.
    /// So does the end of the [`Play`], wherever that has gone. The exit code that it had ended with
    /// before, if it had; 1 if that was by a signal.
    #[must_use]
    pub fn now(&self) -> Option<i32> {
        let mut stage = self.stage();
        stage.end();
        stage.code
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    /// It has ended by itself.
    fn ended(&mut self) {
        let ended = self.child.wait().ok();
        self.code = Some(ended.and_then(|status| status.code()).unwrap_or(1));
    }

    fn end(&mut self) {
        // This is what it hears.
        drop(self.child.stdin.take());
        let until = Instant::now() + GRACE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.folder = None;
    }
}

impl Play {
    /// Starts it in a fresh folder. What is started is the stage: it starts all else, and ends all
    /// when its standard input ends, which happens in any case when this process does.
    ///
    /// # Errors
    /// When there is no folder for it, or it cannot be started.
    pub fn start(stage: impl FnOnce(&Path) -> Command) -> Result<Play, Error> {
        let folder = tempfile::Builder::new().prefix("lockbydir-").tempdir();
        let folder = folder.map_err(|cause| Error::File { path: std::env::temp_dir(), cause })?;
        let live = Live::of(folder.path())?;
        let mut command = stage(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|cause| Error::File { path: command.get_program().into(), cause })?;

        let (tell, told) = channel();
        let has_ended = Arc::new(AtomicBool::new(false));
        let voices: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|voice| Box::new(voice) as _),
            child.stderr.take().map(|voice| Box::new(voice) as _),
        ];
        let stage = Stage { child, code: None, folder: Some(folder) };
        let ending = Ending(Arc::new(Mutex::new(stage)));
        // From here on its end is the end of all.
        let ended = has_ended.clone();
        let mut play = Play { told, voices: 0, has_ended, is_over: false, ending };
        for voice in voices.into_iter().flatten() {
            let tell = tell.clone();
            spawn("voice", move || listen(voice, &tell))?;
            play.voices += 1;
        }
        spawn("observer", move || observe(live, &ended, &tell))?;
        Ok(play)
    }

    /// How it will end.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending.clone()
    }

    fn hear(&mut self, told: Told, events: &mut Vec<Event>) -> Result<(), Error> {
        match told {
            Told::Events(seen) => events.extend(seen),
            Told::Failed(error) => return Err(error),
            Told::Silent => {
                self.voices -= 1;
                if self.voices == 0 {
                    self.ending.stage().ended();
                    self.has_ended.store(true, Ordering::Release);
                }
            }
            Told::All => self.is_over = true,
        }
        Ok(())
    }
}

/// Tells each line that is said.
fn listen(voice: impl Read, tell: &Sender<Told>) {
    for line in BufReader::new(voice).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).replace('\t', "    ");
        let _ = tell.send(Told::Events(vec![Event::said(line.trim_end_matches('\r'))]));
    }
    let _ = tell.send(Told::Silent);
}

/// Tells what is seen, until nothing happens any more after all has ended.
fn observe(mut live: Live, has_ended: &AtomicBool, tell: &Sender<Told>) {
    loop {
        let is_last = has_ended.load(Ordering::Acquire);
        let told = match live.next(SILENCE) {
            Ok(events) if events.is_empty() && is_last => Told::All,
            Ok(events) if events.is_empty() => continue,
            Ok(events) => Told::Events(events),
            Err(error) => Told::Failed(error),
        };
        let is_all = !matches!(told, Told::Events(_));
        if tell.send(told).is_err() || is_all {
            return;
        }
    }
}

impl Source for Play {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        let until = Instant::now() + up_to;
        while events.is_empty() && !self.is_over {
            match self.told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(told) => self.hear(told, &mut events)?,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => self.is_over = true,
            }
        }
        while let Ok(told) = self.told.try_recv() {
            self.hear(told, &mut events)?;
        }
        // Who hears and who sees are two.
        events.sort_by(|one, two| one.at.total_cmp(&two.at));
        Ok(events)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
        self.ending.stage().end();
    }
}

/// Passes on what a source tells, and remembers the last paragraph of what was said there: the
/// verdict of an example.
pub struct Listener<S> {
    source: S,
    verdict: Verdict,
}

/// What was said last, since the last empty line.
#[derive(Clone, Debug, Default)]
pub struct Verdict(Arc<Mutex<Vec<String>>>);

impl Verdict {
    /// Its lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S: Source> Listener<S> {
    /// Listens to this one.
    #[must_use]
    pub fn new(source: S) -> Listener<S> {
        Listener { source, verdict: Verdict::default() }
    }

    /// What will have been said last.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }
}

impl<S: Source> Source for Listener<S> {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let events = self.source.next(up_to)?;
        let mut lines = self.verdict.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in &events {
            match &event.what {
                What::Said { text } if text.is_empty() => lines.clear(),
                What::Said { text } => lines.push(text.clone()),
                _ => {}
            }
        }
        drop(lines);
        Ok(events)
    }

    fn now(&self) -> f64 {
        self.source.now()
    }

    fn is_over(&self) -> bool {
        self.source.is_over()
    }
}
