//! Futures that are polled or dropped while their thread tries, with an engine that tries as long as a
//! test requires.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use lockbydir::engine::{self, Engine, Holding, Opened, Scheme, Wait};
use lockbydir::{Broken, Error, Guard, How, Key, Lock, Status};
use lockbydir_protocol::AcquireRequest;

use crate::{ms, secs};

type Waiting = Pin<Box<dyn Future<Output = Result<Guard, Error>> + Send>>;

/// What an engine does in its try, by the name of the lock.
type Try = Box<dyn Fn(&Wait<'_>) + Send + Sync>;

static TRIES: Mutex<Vec<(String, Arc<Try>)>> = Mutex::new(Vec::new());

struct Trying {
    path: PathBuf,
    first: Arc<Try>,
}

fn open(url: &str, _: Duration) -> Opened {
    let tries = TRIES.lock().unwrap();
    let (_, first) = tries.iter().find(|(name, _)| name == url).expect("a lock of these tests");
    Ok(Arc::new(Trying { path: PathBuf::from(format!("{url}.lockdir")), first: first.clone() }))
}

impl Engine for Trying {
    fn path(&self) -> &Path {
        &self.path
    }

    fn acquire(
        &self,
        _: AcquireRequest,
        wait: &mut Wait<'_>,
    ) -> Result<(Box<dyn Holding>, How), Error> {
        (self.first)(wait);
        Err(wait.interrupted(&self.path))
    }

    fn status(&self) -> Result<Status, Error> {
        Ok(Status::new(&self.path, &self.path))
    }

    fn is_locked(&self) -> Result<bool, Error> {
        Ok(true)
    }

    fn evict(&self, _: bool) -> Result<Broken, Error> {
        Ok(Broken::WasFree)
    }

    fn renew(&self, _: Key, _: Option<Duration>) -> Result<(), Error> {
        Ok(())
    }

    fn release(&self, _: Key) -> Result<(), Error> {
        Ok(())
    }
}

/// Returns a future that waits for a lock whose engine tries like this.
fn waiting(name: &str, first: impl Fn(&Wait<'_>) + Send + Sync + 'static) -> Waiting {
    engine::register(Scheme::new("trying", open, |_| Ok(Vec::new()), |_| Ok(Vec::new())));
    let url = format!("trying://{name}");
    TRIES.lock().unwrap().push((url.clone(), Arc::new(Box::new(first))));
    let lock = Lock::new(&url).patience(lockbydir::Patience::FOREVER);
    Box::pin(async move { lock.acquire_async().await })
}

fn poll(future: &mut Waiting) -> Poll<Result<Guard, Error>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_poll_does_not_wait_for_a_try() {
    let ((begun, begins), (end, ends)) = (mpsc::channel(), mpsc::channel());
    let ends = Mutex::new(ends);
    let mut future = waiting("polled", move |_| {
        begun.send(()).unwrap();
        ends.lock().unwrap().recv().unwrap();
    });
    assert!(poll(&mut future).is_pending());
    begins.recv_timeout(secs(60)).unwrap();

    let (polled, answer) = mpsc::channel();
    let polling = thread::spawn(move || {
        polled.send(poll(&mut future).is_pending()).unwrap();
        future
    });
    let during_the_try = answer.recv_timeout(secs(60));
    end.send(()).unwrap();

    assert_eq!(during_the_try, Ok(true), "the poll waits for the try");
    drop(polling.join().unwrap());
}

#[test]
fn a_drop_waits_for_the_try_and_no_other_follows() {
    let ((begun, begins), (paused, pauses)) = (mpsc::channel(), mpsc::channel());
    let is_trying = Arc::new(AtomicBool::new(true));
    let tries = is_trying.clone();
    let mut future = waiting("dropped", move |wait| {
        begun.send(()).unwrap();
        while !wait.is_interrupted() {
            thread::yield_now();
        }
        thread::sleep(ms(50)); // time for a drop that does not wait
        tries.store(false, Ordering::SeqCst);
        paused.send(wait.pause(|| ())).unwrap();
    });
    assert!(poll(&mut future).is_pending());
    begins.recv_timeout(secs(60)).unwrap();

    drop(future);

    assert!(!is_trying.load(Ordering::SeqCst), "the drop does not wait for the try");
    assert_eq!(pauses.recv_timeout(secs(60)), Ok(None), "the engine may try again");
}

#[test]
fn a_future_whose_engine_panicked_can_be_dropped() {
    let (begun, begins) = mpsc::channel();
    let mut future = waiting("panicked", move |_| {
        begun.send(()).unwrap();
        panic!("this engine has a fault");
    });
    assert!(poll(&mut future).is_pending());
    begins.recv_timeout(secs(60)).unwrap();

    let (sender, dropped) = mpsc::channel();
    thread::spawn(move || {
        drop(future);
        sender.send(()).unwrap();
    });

    assert_eq!(dropped.recv_timeout(secs(60)), Ok(()), "the drop waits for a thread that is gone");
}
