//! An observer: its reports about locks that are acquired, waited for and released.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use lockbydir::observe::{Event, Observer, What};
use lockbydir::{Lock, Owner};

use crate::{ms, secs};

/// Returns all events up to the first that matches.
#[track_caller]
pub(crate) fn until(observer: &mut Observer, is_it: impl Fn(&What) -> bool) -> Vec<Event> {
    let end = Instant::now() + secs(60);
    let mut all = Vec::new();
    while !all.iter().any(|event: &Event| is_it(&event.what)) {
        assert!(Instant::now() < end, "only this came: {all:#?}");
        all.extend(observer.next(ms(200)).unwrap());
    }
    all
}

pub(crate) fn words(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match &event.what {
        What::Acquired { how, .. } => format!("acquired {how:?}"),
        What::Left { why, .. } => format!("left {why:?}"),
        What::Renewed { times, .. } => format!("renewed {times:?}"),
        What::Missed(number) => format!("missed {number}"),
        other => format!("{other:?}").split('(').next().unwrap().to_lowercase(),
    };
    events.iter().map(word).collect()
}

pub(crate) fn jobs(folder: &Path) -> Lock {
    Lock::new(folder.join("jobs")).timeout(secs(10))
}

#[test]
fn acquisition_renewal_and_release_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();

    let guard = jobs(folder.path()).label("nightly").acquire().unwrap();
    let first = until(&mut observer, |what| matches!(what, What::Acquired { .. }));
    guard.renew().unwrap();
    guard.renew().unwrap();
    let token = guard.token();
    guard.release().unwrap();
    let then = until(&mut observer, |what| matches!(what, What::Released(_)));

    assert_eq!(words(&first), ["appeared", "acquired Free"]);
    assert_eq!(words(&then), ["renewed Some(1)", "renewed Some(1)", "released"]);
    let What::Acquired { by, token: seen, timeout, .. } = &first[1].what else { panic!() };
    assert_eq!((*seen, *timeout), (token, secs(10)));
    assert_eq!((by.pid, by.label.as_deref()), (Some(std::process::id()), Some("nightly")));
    assert_eq!(first[1].path, folder.path().canonicalize().unwrap().join("jobs.lockdir"));
}

#[test]
fn earlier_holdings_are_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let guard = jobs(folder.path()).acquire().unwrap();

    let mut observer = Observer::of(folder.path()).unwrap();
    let events = until(&mut observer, |what| matches!(what, What::Acquired { .. }));

    assert_eq!(words(&events), ["appeared", "acquired Before"]);
    guard.release().unwrap();
}

#[test]
fn a_lock_that_expired_before_shows_since_when() {
    let folder = tempfile::tempdir().unwrap();
    let begun = std::time::SystemTime::now();
    let lock = jobs(folder.path()).timeout(ms(100)).owner(Owner::Nobody);
    let _ = lock.acquire().unwrap().keep();
    let got = Instant::now();
    while got.elapsed() < ms(140) {
        thread::yield_now();
    }

    let mut observer = Observer::of(folder.path()).unwrap();
    let events = until(&mut observer, |what| matches!(what, What::Expired(_)));

    let What::Acquired { by, remaining, age, .. } = &events[1].what else { panic!("{events:?}") };
    assert_eq!(*remaining, ms(0));
    assert!((ms(140)..secs(60)).contains(age), "{age:?}");
    // The number of microseconds may be rounded.
    assert!(by.since + ms(1) >= begun && by.since <= begun + secs(60), "{by:?}");
}

#[test]
fn a_waiter_joins_and_is_served_and_the_lock_is_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let guard = jobs(folder.path()).acquire().unwrap();

    // By another name, so that it does not wait among the threads of this process.
    let alias = folder.path().with_extension("alias");
    std::os::unix::fs::symlink(folder.path(), &alias).unwrap();
    let other = jobs(&alias);
    let waiter = thread::spawn(move || other.acquire().unwrap());
    until(&mut observer, |what| matches!(what, What::Joined(_)));
    // Before it listens, it may not count as somebody who waits.
    while !folder.path().join("jobs.lockdir.queue/bell").exists() {
        thread::yield_now();
    }
    guard.release().unwrap();
    let next = waiter.join().unwrap();
    // On a busy machine a holding that ends at once may pass unseen.
    let mut all = words(&until(&mut observer, |what| matches!(what, What::Acquired { .. })));
    next.release().unwrap();
    while all.iter().filter(|word| *word == "released").count() < 2 {
        all.extend(words(&until(&mut observer, |what| matches!(what, What::Released(_)))));
    }

    std::fs::remove_file(alias).unwrap();
    assert!(all.contains(&"acquired HandedOver".to_owned()), "{all:?}");
    assert!(all.contains(&"left Served".to_owned()), "{all:?}");
}

#[test]
fn a_waiter_that_then_holds_by_a_key_is_one_contender() {
    let folder = tempfile::tempdir().unwrap();
    let guard = jobs(folder.path()).acquire().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let alias = folder.path().with_extension("alias");
    std::os::unix::fs::symlink(folder.path(), &alias).unwrap();

    let other = jobs(&alias).owner(Owner::Nobody);
    let waiter = thread::spawn(move || other.acquire().unwrap());
    let joined = until(&mut observer, |what| matches!(what, What::Joined(_)));
    guard.release().unwrap();
    let other = waiter.join().unwrap();
    let mut events = until(&mut observer, |what| matches!(what, What::Acquired { .. }));
    other.renew().unwrap();
    events.extend(until(&mut observer, |what| matches!(what, What::Renewed { .. })));
    other.release().unwrap();
    events.extend(until(&mut observer, |what| matches!(what, What::Released(_))));

    std::fs::remove_file(alias).unwrap();
    let Some(What::Joined(waited)) = joined.last().map(|event| &event.what) else { panic!() };
    let by = |event: &Event| match &event.what {
        What::Acquired { by, .. } | What::Renewed { by, .. } => Some((by.id, by.pid)),
        _ => None,
    };
    let held: Vec<_> = events.iter().filter_map(by).collect();
    assert_eq!(held, [(waited.id, None); 2], "{events:#?}");
    let Some(What::Released(by)) = events.last().map(|event| &event.what) else { panic!() };
    assert_eq!(by.id, waited.id);
}

#[test]
fn a_waiter_that_gives_up_has_left_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let guard = jobs(folder.path()).acquire().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let alias = folder.path().with_extension("alias");
    std::os::unix::fs::symlink(folder.path(), &alias).unwrap();

    let hasty = jobs(&alias).patience(secs(2)).label("hasty");
    let waiter = thread::spawn(move || hasty.acquire().map(drop));
    let events = until(&mut observer, |what| matches!(what, What::Left { .. }));

    assert!(waiter.join().unwrap().unwrap_err().is_patience_over());
    assert_eq!(words(&events)[2..], ["joined", "left GaveUp"]);
    let What::Left { who, .. } = &events[3].what else { panic!() };
    assert_eq!(who.label.as_deref(), Some("hasty"));
    std::fs::remove_file(alias).unwrap();
    drop(guard);
}

#[test]
fn a_waiter_that_changes_its_ticket_has_not_left() {
    let folder = tempfile::tempdir().unwrap();
    let guard = jobs(folder.path()).acquire().unwrap();
    let queue = folder.path().join("jobs.lockdir.queue");
    std::fs::create_dir(&queue).unwrap();
    let place = |order: u64| {
        let rest = "5.00000000000000aa.effffffa.effffffc.7-7.elsewhere.-";
        queue.join(format!("t1.{order}.00000000000000000000000001.{rest}"))
    };
    crate::queue::make_ticket(&place(1));
    let mut observer = Observer::of(folder.path()).unwrap();
    until(&mut observer, |what| matches!(what, What::Joined(_)));

    for order in 1..100 {
        std::fs::remove_file(place(order)).unwrap();
        guard.renew().unwrap();
        crate::queue::make_ticket(&place(order + 1));
    }
    std::fs::remove_file(place(100)).unwrap();
    let events = until(&mut observer, |what| matches!(what, What::Left { .. }));

    let in_queue = words(&events).into_iter().filter(|word| !word.starts_with("renewed"));
    // Whether it gave up or died is not known, since it is of another host.
    assert_eq!(in_queue.collect::<Vec<_>>(), ["left Gone"]);
    guard.release().unwrap();
}

#[test]
fn expiry_and_takeover_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let lock = jobs(folder.path()).timeout(ms(300)).owner(Owner::Nobody);

    let _forgotten = lock.acquire().unwrap().keep();
    let expired = until(&mut observer, |what| matches!(what, What::Expired(_)));
    let guard = lock.acquire().unwrap();
    let taken = until(&mut observer, |what| matches!(what, What::Acquired { .. }));

    assert_eq!(words(&expired), ["appeared", "acquired Free", "expired"]);
    assert_eq!(words(&taken), ["acquired AfterExpiry"]);
    drop(guard);
}

/// Nobody took the lock, and nobody except its holder removed it.
#[test]
fn a_late_release_is_reported_as_a_release() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let lock = jobs(folder.path()).timeout(ms(300));

    let key = lock.acquire().unwrap().keep();
    let expired = until(&mut observer, |what| matches!(what, What::Expired(_)));
    lock.release(&key).unwrap();
    let released = |what: &What| matches!(what, What::Released(_) | What::Broken(_));
    let released = until(&mut observer, released);

    assert_eq!(words(&expired), ["appeared", "acquired Free", "expired"]);
    assert_eq!(words(&released), ["released"]);
}

#[test]
fn death_and_a_later_break_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let mut process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let lock = jobs(folder.path()).owner(Owner::Process(process.id()));

    let _left = lock.acquire().unwrap().keep();
    until(&mut observer, |what| matches!(what, What::Acquired { .. }));
    process.kill().unwrap();
    process.wait().unwrap();
    let died = until(&mut observer, |what| matches!(what, What::Died(_)));
    lock.break_stale().unwrap();
    let broken = until(&mut observer, |what| matches!(what, What::Broken(_)));

    assert_eq!(words(&died), ["died"]);
    assert_eq!(words(&broken), ["broken"]);
    let What::Died(who) = &died[0].what else { panic!() };
    assert_eq!(who.pid, Some(process.id()));
}

#[test]
fn an_immediate_takeover_after_death_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let lock = jobs(folder.path());
    for _ in 0..5 {
        let mut process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let _left = lock.clone().owner(Owner::Process(process.id())).acquire().unwrap().keep();
        until(&mut observer, |what| matches!(what, What::Acquired { .. }));

        process.kill().unwrap();
        process.wait().unwrap();
        let guard = lock.acquire().unwrap();
        let events = until(&mut observer, |what| matches!(what, What::Acquired { .. }));
        guard.release().unwrap();
        until(&mut observer, |what| matches!(what, What::Released(_)));

        assert_eq!(words(&events), ["died", "acquired AfterDeath"]);
    }
}

#[test]
fn fast_holdings_are_all_seen_or_counted() {
    const MANY: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let is_over = AtomicBool::new(false);

    let (mut seen, mut missed, mut released) = (0, 0, 0);
    thread::scope(|scope| {
        // Two for each look: the holdings of a busier lock are not reported one by one.
        let (look, looks) = mpsc::sync_channel(0);
        let (is_over, lock) = (&is_over, jobs(folder.path()));
        scope.spawn(move || {
            for _ in 0..MANY / 2 {
                looks.recv().unwrap();
                lock.acquire().unwrap().release().unwrap();
                lock.acquire().unwrap().release().unwrap();
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let end = Instant::now() + secs(60);
        loop {
            let was_over = is_over.load(Ordering::SeqCst);
            let _ = look.try_send(());
            let events = observer.next(ms(300)).unwrap();
            for event in &events {
                match &event.what {
                    What::Acquired { .. } => seen += 1,
                    What::Released(_) => released += 1,
                    What::Missed(number) => missed += usize::try_from(*number).unwrap(),
                    _ => {}
                }
            }
            let are_all = seen + missed >= MANY && released >= seen;
            if was_over && events.is_empty() && are_all || Instant::now() >= end {
                break;
            }
        }
    });

    assert_eq!((seen + missed, released), (MANY, seen), "{seen} seen, {missed} missed");
}

/// The directory stays the same, so only its stage shows who installed it.
#[test]
fn a_holding_replaced_before_a_look_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    // By another name, so that it does not wait among the threads of this process.
    let alias = folder.path().with_extension("alias");
    std::os::unix::fs::symlink(folder.path(), &alias).unwrap();

    let guard = jobs(folder.path()).acquire().unwrap();
    let other = jobs(&alias);
    let waiter = thread::spawn(move || other.acquire().unwrap());
    while jobs(folder.path()).status().unwrap().queue.is_empty() {
        thread::yield_now();
    }
    guard.release().unwrap();
    let guard = waiter.join().unwrap();
    let events = words(&until(&mut observer, |what| matches!(what, What::Missed(_))));

    std::fs::remove_file(alias).unwrap();
    let count = |word: &str| events.iter().filter(|event| event.starts_with(word)).count();
    assert_eq!((count("acquired"), count("missed 1")), (1, 1), "{events:?}");
    drop(guard);
}

/// Sets the flag when it is dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Lets the lock change hands until this is over. Each time is one rename: a machine that is too busy
/// for so many acquisitions is still fast enough for that.
fn change_hands(folder: &Path, is_over: &AtomicBool) {
    let guard = jobs(folder).acquire().unwrap();
    let name = crate::entry(folder);
    let mut other = lockbydir_protocol::Entry::parse(&name).unwrap();
    other.nonce.0 ^= 1;
    let directory = folder.join("jobs.lockdir");
    let [one, other] = [name, other.to_string()].map(|name| directory.join(name));
    while !is_over.load(Ordering::SeqCst) {
        std::fs::rename(&one, &other).unwrap();
        std::fs::rename(&other, &one).unwrap();
    }
    guard.release().unwrap();
}

#[test]
fn a_busy_lock_is_counted_until_it_is_calm() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let (lock, is_over) = (jobs(folder.path()), AtomicBool::new(false));

    let (busy, calm) = thread::scope(|scope| {
        scope.spawn(|| change_hands(folder.path(), &is_over));
        // The flag is set however this ends, since the scope waits for the other thread.
        let over = SetOnDrop(&is_over);
        let busy = until(&mut observer, |what| matches!(what, What::Busy(_)));
        drop(over);
        (busy, until(&mut observer, |what| matches!(what, What::Calm)))
    });
    lock.acquire().unwrap().release().unwrap();
    let events =
        until(&mut observer, |what| matches!(what, What::Acquired { .. } | What::Missed(_)));

    let counted = busy.iter().find_map(|event| match event.what {
        What::Busy(a_second) => Some(a_second),
        _ => None,
    });
    assert!(counted.is_some_and(|counted| counted >= 100), "{counted:?}");
    assert_eq!((calm.is_empty(), events.is_empty()), (false, false));
}

#[test]
fn only_the_requested_locks_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["one", "two"].map(|name| folder.path().join(name));
    let mut observer = Observer::of_locks(&names[..1]).unwrap();

    drop(Lock::new(&names[1]).acquire().unwrap());
    drop(Lock::new(&names[0]).acquire().unwrap());
    let events = until(&mut observer, |what| matches!(what, What::Released(_) | What::Missed(_)));

    assert!(events.iter().all(|event| event.path.ends_with("one.lockdir")), "{events:#?}");
}

#[test]
fn a_lock_in_a_folder_created_later_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let inner = folder.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();

    let guard = jobs(&inner).acquire().unwrap();
    let events = until(&mut observer, |what| matches!(what, What::Acquired { .. }));

    assert_eq!(events[0].path, inner.join("jobs.lockdir"));
    drop(guard);
}

#[test]
fn a_folder_that_vanishes_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let path = folder.path().to_owned();

    drop(folder);
    let end = Instant::now() + secs(60);
    let error = loop {
        assert!(Instant::now() < end, "nothing was reported");
        if let Err(error) = observer.next(ms(200)) {
            break error;
        }
    };

    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn looking_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bare.lockdir")).unwrap();
    let guard = jobs(folder.path()).acquire().unwrap();
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let times: Vec<_> =
            names.iter().map(|path| std::fs::metadata(path).unwrap().modified().unwrap()).collect();
        (names, times, std::fs::metadata(folder.path()).unwrap().modified().unwrap())
    };
    let before = names();

    let mut observer = Observer::of(folder.path()).unwrap();
    for _ in 0..4 {
        observer.next(ms(300)).unwrap();
    }

    assert_eq!(names(), before);
    drop(guard);
}
