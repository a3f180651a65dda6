//! Acquiring: install, take and take over.

use lockbydir_protocol::*;

use crate::play::*;
use Operation::{AskLiveness, Install, Look, ReadFileClock, RemoveDir, Rename, Stage, Unstage};

/// How many races a try may lose; with the next one it ends.
pub(crate) const ROUNDS: usize = 4;

pub(crate) fn request() -> AcquireRequest {
    AcquireRequest {
        nonce: Nonce(8),
        timeout: secs(20),
        fenced: false,
        shared: false,
        owner: Owner::One(Process { pid: 1, start: 1 }),
        host: Host::new("h"),
        label: Label::new("mine").unwrap(),
        names_child: false,
    }
}

/// The name number `renewals` of the request, published at this time.
pub(crate) fn mine(renewals: u32, now: Now) -> Entry {
    let request = request();
    Entry {
        state: State::Held,
        fenced: request.fenced,
        token: micros(now.wall),
        nonce: request.nonce,
        renewals,
        timeout: request.timeout,
        stamp: now.boot,
        origin: ORIGIN,
        owner: request.owner,
        host: request.host,
        label: request.label,
    }
}

pub(crate) fn acquire() -> Play<Acquire> {
    acquire_on(here())
}

pub(crate) fn acquire_on(here: LocalContext) -> Play<Acquire> {
    Play::of(Acquire::new(request(), here, None))
}

pub(crate) fn busy(fault: Fault) -> Acquisition {
    Acquisition::Blocked(Blocker::Busy(fault))
}

pub(crate) fn blocked_by(entry: Entry, until: std::time::Duration) -> Acquisition {
    Acquisition::Blocked(Blocker::Held { entry, until })
}

pub(crate) fn bare_for(litter: Option<&str>) -> Acquisition {
    Acquisition::Blocked(Blocker::Bare(litter.map(Into::into)))
}

/// An acquisition that has staged its entry and is about to install it.
pub(crate) fn installing(here: LocalContext) -> Play<Acquire> {
    let mine = mine(0, now());
    acquire_on(here)
        .asks(Look)
        .answer(absent())
        .asks(Stage(mine.clone()))
        .answer(DONE)
        .asks(Install(mine))
}

#[test]
fn a_free_lock_is_staged_and_installed() {
    installing(here()).answer(DONE).ends(Acquisition::Got(mine(0, now()), AcquiredFrom::Free));
}

#[test]
fn an_installed_lock_takes_a_new_token_if_the_wall_clock_went_on() {
    let later = later(now(), millis(1));
    let raised = mine(1, later);

    installing(here())
        .after(millis(1))
        .answer(DONE)
        .asks(Rename(mine(0, now()), raised.clone()))
        // Once is enough: from then on D is there, and tokens only grow.
        .after(millis(1))
        .answer(DONE)
        .ends(Acquisition::Got(raised, AcquiredFrom::Free));
}

#[test]
fn a_wall_clock_set_back_leaves_the_token() {
    let mine = mine(0, now());
    let mut machine = Acquire::new(request(), here(), None);
    let back = Now { wall: secs(WALL - 3600), ..now() };
    machine.start(now());
    machine.resume(now(), absent());
    machine.resume(now(), DONE);

    let step = machine.resume(back, DONE);

    assert_eq!(step, Step::Finished(Acquisition::Got(mine, AcquiredFrom::Free)));
}

#[test]
fn an_open_lock_is_taken_by_one_rename_with_a_larger_token() {
    for (theirs, ours) in [
        (100, micros(secs(WALL))),
        (micros(secs(WALL)), micros(secs(WALL)) + 1),
        (MAX_TOKEN - 1, MAX_TOKEN),
    ] {
        let open = Entry { token: theirs, ..open(7) };
        let taken = Entry { token: ours, ..mine(0, now()) };

        acquire()
            .answer(seen(std::slice::from_ref(&open)))
            .asks(Rename(open.clone(), taken.clone()))
            .answer(DONE)
            .ends(Acquisition::Got(taken, AcquiredFrom::HandedOver(open)));
    }
}

#[test]
fn the_largest_token_has_no_successor() {
    let last = Entry { token: MAX_TOKEN, ..open(7) };

    acquire().answer(seen(&[last])).ends(Acquisition::Foreign(Foreign::Exhausted));
}

#[test]
fn a_wall_clock_beyond_half_of_all_tokens_counts_as_half() {
    for wall in [secs(500_000_000_000), secs(u64::MAX)] {
        let machine = Acquire::new(request(), here(), None);
        let staged = Entry { token: MAX_TOKEN / 2, ..mine(0, now()) };

        Play::from(machine, Now { wall, ..now() }).answer(absent()).asks(Stage(staged));
    }
}

#[test]
fn a_lock_stays_fenced_from_the_first_request_for_it() {
    for (asked, was) in [(false, false), (false, true), (true, false), (true, true)] {
        let open = Entry { fenced: was, ..open(7) };
        let taken = Entry { fenced: asked || was, ..mine(0, now()) };
        let request = AcquireRequest { fenced: asked, ..request() };

        Play::of(Acquire::new(request, here(), None))
            .answer(seen(std::slice::from_ref(&open)))
            .asks(Rename(open, taken));
    }
}

#[test]
fn a_living_holder_blocks_until_its_own_timeout() {
    acquire()
        .answer(seen(&[held(7)]))
        .asks(AskLiveness(OWNER))
        .answer(Answer::Liveness(Liveness::Alive))
        .ends(blocked_by(held(7), secs(BEGIN + 9)));
}

#[test]
fn a_dead_holders_lock_is_taken_over_at_once() {
    let taken = mine(0, now());

    acquire()
        .answer(seen(&[held(7)]))
        .asks(AskLiveness(OWNER))
        .answer(Answer::Liveness(Liveness::Gone))
        .asks(Rename(held(7), taken.clone()))
        .answer(DONE)
        .ends(Acquisition::Got(taken, AcquiredFrom::AfterDeath(held(7), Evidence::ProcessGone)));
}

#[test]
fn an_expired_lock_is_taken_over() {
    let late = later(now(), secs(9));
    let taken = mine(0, late);

    acquire()
        .after(secs(9))
        .answer(seen(&[held(7)]))
        .answer(Answer::Liveness(Liveness::Alive))
        .asks(Rename(held(7), taken.clone()))
        .answer(DONE)
        .ends(Acquisition::Got(taken, AcquiredFrom::AfterExpiry(held(7), Evidence::BootClock)));
}

#[test]
fn a_holder_elsewhere_is_watched_for_its_whole_timeout() {
    let taken = mine(0, later(now(), secs(10)));

    acquire()
        .answer(seen(&[remote(7)]))
        .asks(ReadFileClock)
        .answer(Answer::FileClock(stamp(secs(WALL))))
        .ends(blocked_by(remote(7), secs(BEGIN + 10)))
        .after(millis(9_999))
        .again()
        .answer(seen(&[remote(7)]))
        // The file system's clock is read once; from then on the entry is watched.
        .ends(blocked_by(remote(7), secs(BEGIN + 10)))
        .after(millis(1))
        .again()
        .answer(seen(&[remote(7)]))
        .asks(Rename(remote(7), taken.clone()))
        .answer(DONE)
        .ends(Acquisition::Got(taken, AcquiredFrom::AfterExpiry(remote(7), Evidence::Watched)));
}

#[test]
fn a_holder_elsewhere_that_renews_is_watched_anew() {
    let renewed = Entry { renewals: 4, ..remote(7) };

    acquire()
        .answer(seen(&[remote(7)]))
        .answer(failed(DENIED))
        .ends(blocked_by(remote(7), secs(BEGIN + 10)))
        .after(secs(10))
        .again()
        .answer(seen(std::slice::from_ref(&renewed)))
        .asks(ReadFileClock)
        .answer(Answer::FileClock(stamp(secs(WALL))))
        .ends(blocked_by(renewed, secs(BEGIN + 20)));
}

#[test]
fn a_lock_a_minute_past_its_timeout_by_file_clock_is_taken_over() {
    acquire()
        .answer(seen(&[remote(7)]))
        .asks(ReadFileClock)
        .answer(Answer::FileClock(Stamp(changed().0 + 70_000_000_001)))
        .asks(Rename(remote(7), mine(0, now())));
}

#[test]
fn a_bare_lock_older_than_our_own_timeout_is_removed() {
    let bare = listing(&[]);
    let just = Stamp(bare.modified.0 + 20_000_000_000);

    acquire()
        .answer(found(bare.clone()))
        .asks(ReadFileClock)
        .answer(Answer::FileClock(just))
        .ends(bare_for(None))
        .again()
        .answer(found(bare.clone()))
        .asks(ReadFileClock)
        .answer(Answer::FileClock(Stamp(just.0 + 1)))
        .asks(RemoveDir(bare.modified))
        .answer(DONE)
        .asks(Look)
        .answer(absent())
        .asks(Stage(mine(0, now())))
        .answer(DONE)
        .asks(Install(mine(0, now())))
        .answer(DONE)
        .ends(Acquisition::Got(
            mine(0, now()),
            AcquiredFrom::AfterBare(secs(20) + std::time::Duration::from_nanos(1)),
        ));
}

/// An acquisition that has removed a bare lock, which it had watched for a second more than our timeout,
/// and is about to install its entry.
fn installing_after_bare() -> Play<Acquire> {
    let bare = listing(&[]);
    acquire()
        .answer(found(bare.clone()))
        .answer(failed(BROKEN))
        .ends(bare_for(None))
        .after(secs(21))
        .again()
        .answer(found(bare))
        .answer(DONE)
        .answer(absent())
        .answer(DONE)
}

#[test]
fn a_removed_bare_lock_is_reported_though_an_install_fails_once() {
    let at = later(now(), secs(21));
    let (mine, second) = (mine(0, at), mine(1, at));
    installing_after_bare()
        .asks(Install(mine.clone()))
        .answer(failed(Fault::Taken))
        .answer(absent())
        .asks(Unstage(mine))
        .answer(DONE)
        .asks(Look)
        .answer(absent())
        .asks(Stage(second.clone()))
        .answer(DONE)
        .answer(DONE)
        .ends(Acquisition::Got(second, AcquiredFrom::AfterBare(secs(21))));
}

#[test]
fn a_removed_bare_lock_is_forgotten_if_another_took_the_lock() {
    let at = later(now(), secs(21));
    let taken = Entry { token: micros(at.wall).max(8), ..mine(1, at) };
    installing_after_bare()
        .answer(failed(Fault::Taken))
        .answer(seen(&[held(7)]))
        .asks(Unstage(mine(0, at)))
        .answer(DONE)
        .asks(Look)
        .answer(seen(&[open(7)]))
        .asks(Rename(open(7), taken.clone()))
        .answer(DONE)
        .ends(Acquisition::Got(taken, AcquiredFrom::HandedOver(open(7))));
}

#[test]
fn a_bare_lock_is_forgotten_once_another_held_or_it_was_removed() {
    let at = later(now(), secs(21));
    let bare = listing(&[]);
    let held_since = installing_after_bare()
        .answer(failed(Fault::Taken))
        .answer(seen(&[held(7)]))
        .asks(Unstage(mine(0, at)))
        .answer(DONE)
        .asks(Look)
        .answer(absent())
        .asks(Stage(mine(1, at)));
    let removed_by_its_owner = acquire()
        .answer(found(bare.clone()))
        .answer(failed(BROKEN))
        .after(secs(21))
        .again()
        .answer(found(bare.clone()))
        .asks(RemoveDir(bare.modified))
        .answer(failed(Fault::Missing))
        .ends(bare_for(None))
        .again()
        .answer(absent())
        .asks(Stage(mine(0, at)));
    for (play, names) in [(held_since, 1), (removed_by_its_owner, 0)] {
        play.answer(DONE).answer(DONE).ends(Acquisition::Got(mine(names, at), AcquiredFrom::Free));
    }
}

#[test]
fn a_bare_lock_with_a_rounded_stamp_gets_two_seconds_more() {
    let rounded = Stamp(changed().0 / 1_000_000_000 * 1_000_000_000);
    let bare = Listing { modified: rounded, ..listing(&[]) };
    let just = Stamp(rounded.0 + 22_000_000_000);

    acquire()
        .answer(found(bare.clone()))
        .asks(ReadFileClock)
        .answer(Answer::FileClock(just))
        .ends(bare_for(None))
        .after(secs(21))
        .again()
        .answer(found(bare.clone()))
        .asks(ReadFileClock)
        .answer(Answer::FileClock(Stamp(just.0 + 1)))
        .asks(RemoveDir(rounded));
}

#[test]
fn a_bare_lock_watched_for_our_timeout_is_removed() {
    let bare = listing(&[]);

    acquire()
        .answer(found(bare.clone()))
        .answer(failed(BROKEN))
        .ends(bare_for(None))
        .after(millis(19_999))
        .again()
        .answer(found(bare.clone()))
        .asks(ReadFileClock)
        .answer(Answer::FileClock(bare.modified))
        .ends(bare_for(None))
        .after(millis(1))
        .again()
        .answer(found(bare.clone()))
        .asks(RemoveDir(bare.modified));
}

#[test]
fn a_bare_lock_that_is_made_again_is_watched_anew() {
    let bare = listing(&[]);
    let new = Listing { modified: Stamp(changed().0 + 1_000_000_000), ..bare.clone() };

    acquire()
        .answer(found(bare))
        .answer(failed(BROKEN))
        .after(secs(20))
        .again()
        .answer(found(new))
        .asks(ReadFileClock);
}

#[test]
fn the_litter_in_a_bare_lock_is_named() {
    let bare = Listing { litter: Some(".nfs01".into()), ..listing(&[]) };

    let old = Answer::FileClock(stamp(secs(WALL + 100)));

    for answer in [Answer::FileClock(bare.modified), failed(BROKEN)] {
        acquire().answer(found(bare.clone())).answer(answer).ends(bare_for(Some(".nfs01")));
    }
    acquire()
        .answer(found(bare.clone()))
        .answer(old)
        .asks(RemoveDir(bare.modified))
        .answer(failed(Fault::Taken))
        .ends(bare_for(Some(".nfs01")));
}

#[test]
fn a_slow_acquisition_is_renewed_before_it_is_returned() {
    // Just before half of its timeout has passed, and just then.
    let taken = mine(0, now());
    let late = later(now(), secs(10));
    let fresh = Entry { token: taken.token, ..mine(1, late) };
    let from = AcquiredFrom::HandedOver(open(7));

    acquire()
        .answer(seen(&[open(7)]))
        .after(millis(9_999))
        .answer(DONE)
        .ends(Acquisition::Got(taken.clone(), from.clone()));
    acquire()
        .answer(seen(&[open(7)]))
        .after(secs(10))
        .answer(DONE)
        .asks(Rename(taken, fresh.clone()))
        .answer(DONE)
        .ends(Acquisition::Got(fresh, from));
}

#[test]
fn an_acquisition_that_is_always_slow_is_released() {
    let slow = |play: Play<Acquire>| play.after(secs(10)).answer(DONE);

    let emptied = Stamp(77);
    acquire()
        .answer(seen(&[open(7)]))
        .times(ROUNDS + 1, slow)
        .asks(Operation::HasWaiters)
        .nobody_waits()
        .answer(Answer::Done(Some(emptied)))
        .asks(RemoveDir(emptied))
        .answer(DONE)
        .asks(Operation::WakeFirst)
        .answer(DONE)
        .ends(busy(Fault::Taken));
    acquire().answer(seen(&[open(7)])).times(ROUNDS, slow).answer(DONE).ends({
        let last = later(now(), secs(10 * ROUNDS as u64));
        let token = micros(secs(WALL));
        Acquisition::Got(
            Entry { token, ..mine(ROUNDS as u32, last) },
            AcquiredFrom::HandedOver(open(7)),
        )
    });
}

#[test]
fn an_open_lock_of_this_handle_is_taken_without_a_look() {
    let taken = mine(0, now());
    let play = || Play::of(Acquire::new(request(), here(), Some(open(7))));

    play()
        .asks(Rename(open(7), taken.clone()))
        .answer(DONE)
        .ends(Acquisition::Got(taken.clone(), AcquiredFrom::HandedOver(open(7))));
    play().asks(Rename(open(7), taken)).answer(failed(Fault::Missing)).asks(Look).answer(absent());
}

#[test]
fn an_entry_staged_twice_gets_a_new_token_once_installed() {
    // Others have held and left meanwhile.
    let late = later(now(), millis(1));

    installing(here())
        .answer(failed(Fault::Taken))
        .answer(seen(&[open(7)]))
        .asks(Unstage(mine(0, now())))
        .answer(DONE)
        .answer(absent())
        .asks(Stage(mine(1, now())))
        .answer(DONE)
        .after(millis(1))
        .answer(DONE)
        .asks(Rename(mine(1, now()), mine(2, late)));
}
