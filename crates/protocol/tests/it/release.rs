//! Releasing: leaving, or opening in place, and waking the first waiter.

use lockbydir_protocol::*;

use crate::play::*;
use Operation::{CloseQueue, HasWaiters, Look, RemoveDir, Rename, Reopen, Unlink, WakeFirst};

/// D's change time after it was emptied.
const EMPTIED: Stamp = Stamp(77);

fn release(here: LocalContext) -> Play<Release> {
    Play::of(Release::new(held(7), false, here))
}

fn by_key(here: LocalContext) -> Play<Release> {
    Play::of(Release::by_nonce(Nonce(7), false, here))
}

/// A release where nobody waits, which is about to unlink the entry.
fn leaving(here: LocalContext) -> Play<Release> {
    release(here).asks(HasWaiters).nobody_waits().asks(Unlink(held(7)))
}

/// A release where somebody waits, which is about to open the entry.
fn opening(here: LocalContext) -> Play<Release> {
    release(here).asks(HasWaiters).answer(Answer::Somebody(true)).asks(Rename(held(7), opened()))
}

/// The entry, opened at the time when the test begins.
fn opened() -> Entry {
    held(7).next(State::Open, secs(BEGIN), &ORIGIN)
}

/// A release that has unlinked the entry and is about to remove the directory.
fn emptied() -> Play<Release> {
    leaving(here()).answer(Answer::Done(Some(EMPTIED))).asks(RemoveDir(EMPTIED))
}

fn rings(play: Play<Release>) -> Play<Release> {
    play.asks(WakeFirst).answer(DONE)
}

#[test]
fn where_nobody_waits_entry_and_directory_are_removed() {
    rings(emptied().answer(DONE)).ends(Released::Left);
}

#[test]
fn where_somebody_waits_the_lock_is_opened_in_place() {
    rings(opening(here()).answer(DONE)).ends(Released::Opened(opened()));
    assert_eq!(opened().state, State::Open);
    assert_eq!((opened().token, opened().nonce), (held(7).token, held(7).nonce));
    assert_eq!(opened().renewals, held(7).renewals + 1);
}

#[test]
fn a_lock_that_was_opened_for_a_waiter_who_gave_up_is_removed() {
    let unheard = || opening(here()).answer(DONE).asks(WakeFirst).answer(failed(Fault::Missing));
    let asks = || unheard().asks(HasWaiters);
    let leaves = || asks().nobody_waits().asks(Unlink(opened()));
    let removes = || leaves().answer(Answer::Done(Some(EMPTIED))).asks(RemoveDir(EMPTIED));

    rings(removes().answer(DONE)).ends(Released::Left);
    // Somebody has come, or has the lock already.
    asks().answer(Answer::Somebody(true)).ends(Released::Opened(opened()));
    leaves()
        .answer(failed(Fault::Missing))
        .asks(Look)
        .answer(seen(&[held(9)]))
        .ends(Released::Opened(opened()));
    // The lock was released even if its directory stays.
    leaves()
        .answer(failed(DENIED))
        .asks(Look)
        .answer(failed(DENIED))
        .ends(Released::Opened(opened()));
    // The same where a queue was left behind.
    let closed = opening(here()).answer(DONE).asks(WakeFirst).answer(failed(Fault::Taken));
    closed.asks(CloseQueue).answer(DONE).asks(HasWaiters);
}

#[test]
fn a_lock_that_stays_or_is_fenced_is_opened_without_a_question() {
    let fenced = Entry { fenced: true, ..held(7) };

    for (entry, stay) in [(held(7), true), (fenced.clone(), false), (fenced, true)] {
        let open = entry.next(State::Open, secs(BEGIN), &ORIGIN);
        let play = Play::of(Release::new(entry.clone(), stay, here()));

        rings(play.asks(Rename(entry, open.clone())).answer(DONE)).ends(Released::Opened(open));
    }
}

#[test]
fn by_key_the_nonce_is_looked_for_and_a_fenced_lock_opened() {
    let fenced = Entry { fenced: true, ..held(7) };
    let open = fenced.next(State::Open, secs(BEGIN), &ORIGIN);
    let look = || by_key(here()).asks(HasWaiters).nobody_waits().asks(Look);

    look().answer(seen(&[open_and(9), held(7)])).asks(Unlink(held(7)));
    look().answer(seen(std::slice::from_ref(&fenced))).asks(Rename(fenced, open));
    look().answer(seen(&[held(9)])).ends(Released::Lost(Some(held(9))));
    look().answer(seen(&[opened()])).ends(Released::Lost(None));
    look().answer(absent()).ends(Released::Lost(None));
}

fn open_and(nonce: u128) -> Entry {
    open(nonce)
}

#[test]
fn a_parked_open_entry_is_removed_unless_somebody_waits_for_it() {
    let play = || Play::of(Release::new(open(7), false, here())).asks(HasWaiters);

    play().nobody_waits().asks(Unlink(open(7)));
    play().answer(Answer::Somebody(true)).ends(Released::Opened(open(7)));
    // Also one that was to stay: nobody needs it.
    Play::of(Release::new(open(7), true, here()))
        .asks(HasWaiters)
        .nobody_waits()
        .asks(Unlink(open(7)));
}

#[test]
fn a_directory_that_we_may_not_remove_is_opened_and_not_emptied() {
    let asks = |play: Play<Release>| {
        play.asks(HasWaiters).answer(Answer::Somebody(false)).asks(Operation::AskRemovable)
    };
    let (keeps, unknown) = (Answer::Removable(false), failed(Fault::Broken { code: 5 }));

    rings(asks(release(here())).answer(keeps.clone()).asks(Rename(held(7), opened())).answer(DONE))
        .ends(Released::Opened(opened()));
    // Where that cannot be found out, the removal is tried.
    asks(release(here())).answer(unknown).asks(Unlink(held(7)));
    // By key, and for an entry that was left open: it stays for the users who may remove D.
    asks(by_key(here()))
        .answer(keeps.clone())
        .answer(seen(&[held(7)]))
        .asks(Rename(held(7), opened()));
    asks(Play::of(Release::new(open(7), false, here())))
        .answer(keeps)
        .ends(Released::Opened(open(7)));
}

/// After an error the entry's name is unknown, so the machine looks for it.
#[test]
fn a_second_try_keeps_an_open_entry_that_it_may_not_remove() {
    let first = Play::of(Release::new(open(7), false, here())).nobody_waits().asks(Unlink(open(7)));
    let failed = first.answer(failed(DENIED)).asks(Look).answer(failed(DENIED));

    let second = failed.ends(Released::Failed(DENIED)).again().asks(HasWaiters);
    let second = second.answer(Answer::Somebody(false)).asks(Operation::AskRemovable);
    let second = second.answer(Answer::Removable(false)).asks(Look).answer(seen(&[open(7)]));

    rings(second).ends(Released::Opened(open(7)));
}

#[test]
fn a_parked_open_entry_that_is_fenced_is_never_removed() {
    let fenced = Entry { fenced: true, ..open(7) };
    let play = Play::of(Release::new(fenced.clone(), false, here()));

    rings(play.asks(HasWaiters).nobody_waits()).ends(Released::Opened(fenced));
}

#[test]
fn a_parked_open_entry_that_somebody_took_is_lost() {
    let play = || {
        Play::of(Release::new(open(7), false, here()))
            .nobody_waits()
            .answer(failed(Fault::Missing))
            .asks(Look)
    };

    play().answer(seen(&[held(9)])).ends(Released::Lost(Some(held(9))));
    // A held entry with the same nonce is not the open entry that was parked.
    play().answer(seen(&[held(7)])).ends(Released::Lost(Some(held(7))));
}

#[test]
fn a_queue_in_which_nobody_listens_is_closed() {
    let ring = || emptied().answer(DONE).asks(WakeFirst);

    ring().answer(failed(Fault::Taken)).asks(CloseQueue).answer(DONE).ends(Released::Left);
    ring()
        .answer(failed(Fault::Taken))
        .asks(CloseQueue)
        .answer(failed(BROKEN))
        .ends(Released::Left);
    ring().answer(failed(Fault::Missing)).ends(Released::Left);
    ring().answer(failed(DENIED)).ends(Released::Left);
}

#[test]
fn a_directory_that_somebody_else_removed_counts_as_left() {
    rings(emptied().answer(failed(Fault::Missing))).ends(Released::Left);
}

#[test]
fn a_directory_that_was_changed_since_is_looked_at() {
    let look = || emptied().answer(failed(Fault::Taken)).asks(Look);
    let remains = |name: &str| Released::Remains(Fault::Taken, Some(name.into()));
    let litter = Listing { litter: Some(".nfs01".into()), ..listing(&[]) };
    let linked = Listing { foreign: Some(Foreign::TooMany), ..litter.clone() };

    // The directory is somebody's lock by now.
    rings(look().answer(seen(&[held(9)]))).ends(Released::Left);
    rings(look().answer(absent())).ends(Released::Left);
    // The lock was released in time, however late the look is.
    rings(look().after(secs(10)).answer(seen(&[held(9)]))).ends(Released::Left);
    // An empty directory blocks others until it is old.
    rings(look().answer(seen(&[]))).ends(Released::Remains(Fault::Taken, None));
    // A directory with litter stays with an open entry.
    let open = held(7).next(State::Open, secs(BEGIN), &ORIGIN);
    let reopens = || look().answer(found(litter.clone())).asks(Reopen(open.clone()));
    rings(reopens().answer(DONE)).ends(Released::Opened(open.clone()));
    rings(reopens().answer(failed(Fault::Missing))).ends(remains(".nfs01"));
    rings(look().answer(found(linked))).ends(remains(".nfs01"));
    rings(look().answer(found(cluttered(&[])))).ends(remains("thing"));
}

#[test]
fn a_directory_that_we_may_not_remove_any_more_is_opened() {
    for fault in [DENIED, BROKEN] {
        let look = || emptied().answer(failed(fault)).asks(Look);
        let reopens = || look().answer(seen(&[])).asks(Reopen(opened()));
        rings(reopens().answer(DONE)).ends(Released::Opened(opened()));
        rings(reopens().answer(failed(Fault::Taken))).ends(Released::Remains(fault, None));
        // Somebody else has removed it, or has put something there.
        rings(look().answer(absent())).ends(Released::Left);
        rings(look().answer(seen(&[held(9)]))).ends(Released::Left);
        rings(look().answer(found(cluttered(&[]))))
            .ends(Released::Remains(fault, Some("thing".into())));
    }
}

#[test]
fn a_directory_that_cannot_be_removed_or_looked_at_remains() {
    for fault in [BROKEN, Fault::Taken] {
        let look = emptied().answer(failed(Fault::Taken)).asks(Look);
        rings(look.answer(failed(fault))).ends(Released::Remains(fault, None));
    }
}

#[test]
fn where_the_change_time_cannot_be_read_the_directory_remains() {
    rings(leaving(here()).answer(DONE)).ends(Released::Remains(Fault::Taken, None));
}

#[test]
fn an_entry_that_is_still_there_after_an_error_was_not_released() {
    for fault in [Fault::Missing, Fault::Taken, BROKEN] {
        for play in [leaving(here()), opening(here())] {
            play.answer(failed(fault))
                .asks(Look)
                .answer(seen(&[held(7)]))
                .ends(Released::Failed(fault))
                .again()
                .asks(HasWaiters)
                .nobody_waits()
                .asks(Unlink(held(7)));
        }
    }
}

#[test]
fn an_entry_that_was_renewed_meanwhile_is_released_under_its_new_name() {
    let renewed = Entry { renewals: 9, ..held(7) };

    leaving(here())
        .answer(failed(Fault::Missing))
        .answer(seen(std::slice::from_ref(&renewed)))
        .asks(Unlink(renewed.clone()));
    // Of two names the later is the true one.
    leaving(here())
        .answer(failed(Fault::Missing))
        .answer(seen(&[renewed.clone(), held(7)]))
        .asks(Unlink(renewed.clone()));
    leaving(here())
        .answer(failed(Fault::Missing))
        .answer(seen(&[held(7), renewed.clone()]))
        .asks(Unlink(renewed));
}

#[test]
fn on_a_local_file_system_missing_means_lost() {
    for play in [leaving, opening] {
        let look = || play(here()).answer(failed(Fault::Missing)).asks(Look);
        look().answer(seen(&[held(9)])).ends(Released::Lost(Some(held(9))));
        look().answer(seen(&[open(9)])).ends(Released::Lost(None));
        look().answer(absent()).ends(Released::Lost(None));
        look()
            .answer(Answer::Seen(Observation::Foreign(Foreign::Symlink)))
            .ends(Released::Lost(None));
        // Even where a break has opened the lock under the same name as we would have given it.
        look().answer(seen(&[opened()])).ends(Released::Lost(None));
    }
}

#[test]
fn a_doubtful_release_is_done_before_the_deadline_and_lost_after() {
    let deadline = held(7).deadline() - secs(BEGIN);
    let doubtful = [(here(), BROKEN), (shared(), BROKEN), (shared(), Fault::Missing)];

    for (here, fault) in doubtful {
        let look = |time| leaving(here).answer(failed(fault)).asks(Look).after(time);
        rings(look(deadline - millis(1)).answer(seen(&[held(9)]))).ends(Released::Left);
        rings(look(deadline - millis(1)).answer(absent())).ends(Released::Left);
        look(deadline).answer(seen(&[held(9)])).ends(Released::Lost(Some(held(9))));
        look(deadline).answer(absent()).ends(Released::Lost(None));
    }
}

/// A key on another host stamps the entry by a clock that says nothing here.
#[test]
fn a_doubtful_release_of_what_another_clock_renewed_counts_from_our_own_stamp() {
    let deadline = held(7).deadline() - secs(BEGIN);
    for stamp in [secs(0), secs(BEGIN * 9)] {
        let renewed = Entry { renewals: 9, stamp, origin: ELSEWHERE, ..held(7) };
        let seen_anew = || leaving(shared()).answer(failed(Fault::Missing)).asks(Look);
        let unlinks = || seen_anew().answer(seen(std::slice::from_ref(&renewed)));
        let look = |time| {
            unlinks().asks(Unlink(renewed.clone())).answer(failed(Fault::Missing)).after(time)
        };
        rings(look(deadline - millis(1)).answer(absent())).ends(Released::Left);
        look(deadline).answer(absent()).ends(Released::Lost(None));
    }
}

#[test]
fn a_doubtful_release_that_left_the_directory_empty_removes_it() {
    let look = |play: Play<Release>| {
        play.answer(failed(BROKEN)).times(TORN, |play| play.asks(Look).answer(seen(&[]))).asks(Look)
    };

    rings(look(leaving(here())).answer(seen(&[])).asks(RemoveDir(changed())).answer(DONE))
        .ends(Released::Left);
    // This release was to open the lock, so somebody else has emptied D.
    rings(look(opening(here())).answer(seen(&[]))).ends(Released::Left);
}

#[test]
fn an_opened_entry_found_after_a_doubtful_answer_was_opened_by_us() {
    rings(opening(here()).answer(failed(BROKEN)).asks(Look).answer(seen(&[opened()])))
        .ends(Released::Opened(opened()));
    rings(opening(shared()).answer(failed(Fault::Missing)).answer(seen(&[opened()])))
        .ends(Released::Opened(opened()));
    rings(opening(shared()).answer(DONE).asks(Look).answer(seen(&[opened()])))
        .ends(Released::Opened(opened()));
}

#[test]
fn a_torn_listing_is_read_eight_times_more_before_a_loss() {
    for torn in [vec![], vec![held(9), open(9)]] {
        let again = |play: Play<Release>| play.asks(Look).answer(seen(&torn));
        let look = || by_key(here()).nobody_waits();

        look().times(TORN, again).asks(Look).answer(seen(&[held(7)])).asks(Unlink(held(7)));
        look()
            .times(TORN + 1, again)
            .ends(Released::Lost(torn.first().cloned()))
            .again()
            .nobody_waits()
            .times(TORN, again)
            .asks(Look);
    }
}

#[test]
fn a_directory_that_became_foreign_cannot_be_released() {
    let foreign = Answer::Seen(Observation::Foreign(Foreign::NotADirectory));

    for fault in [Fault::Taken, BROKEN] {
        leaving(here()).answer(failed(fault)).answer(foreign.clone()).ends(Released::Failed(fault));
    }
    by_key(here()).nobody_waits().answer(foreign).ends(Released::Lost(None));
}

#[test]
fn when_the_look_fails_too_the_first_fault_is_reported() {
    leaving(here())
        .answer(failed(BROKEN))
        .asks(Look)
        .answer(failed(DENIED))
        .ends(Released::Failed(BROKEN))
        .again()
        .asks(HasWaiters)
        .nobody_waits()
        .asks(Look)
        .answer(failed(DENIED))
        .asks(Look)
        .answer(failed(BROKEN))
        .ends(Released::Failed(DENIED));
}

#[test]
fn on_shared_file_systems_the_directory_decides_not_the_answer() {
    opening(shared())
        .answer(DONE)
        .asks(Look)
        .answer(seen(&[held(7)]))
        .asks(Rename(held(7), opened()));
    // The next holder was faster than our look; after our deadline it may have judged us expired.
    opening(shared())
        .answer(DONE)
        .answer(seen(&[held(9)]))
        .asks(WakeFirst)
        .answer(DONE)
        .ends(Released::Left);
    opening(shared())
        .answer(DONE)
        .after(secs(10))
        .answer(seen(&[held(9)]))
        .ends(Released::Lost(Some(held(9))));
}

#[test]
fn a_server_that_falsely_answers_done_ends_the_release() {
    let lie = |play: Play<Release>| play.answer(DONE).asks(Look).answer(seen(&[held(7)]));

    opening(shared())
        .times(TORN + 1, lie)
        .ends(Released::Failed(Fault::Taken))
        .again()
        .asks(HasWaiters)
        .nobody_waits()
        .asks(Unlink(held(7)));
}
