//! Renewing: the same holding under a new name.

use lockbydir_protocol::*;

use crate::play::*;
use Operation::{Look, Rename};

fn renew(here: LocalContext) -> Play<Renew> {
    Play::of(Renew::new(held(7), RenewRequest::default(), here))
}

fn by_key(here: LocalContext) -> Play<Renew> {
    by_key_with(RenewRequest::default(), here, 99)
}

/// A renewal by key, by a process with this PID.
fn by_key_with(request: RenewRequest, here: LocalContext, pid: u32) -> Play<Renew> {
    Play::of(Renew::by_key(Nonce(7), request, here, Process { pid, start: 1 }))
}

/// The holding's name after `more` further renewals, stamped when the test begins.
fn renewed(more: u32) -> Entry {
    Entry { renewals: held(7).renewals + more, stamp: secs(BEGIN), ..held(7) }
}

#[test]
fn a_renewal_is_one_rename_with_a_new_stamp_and_the_same_token() {
    renew(here())
        .asks(Rename(held(7), renewed(1)))
        .answer(DONE)
        .ends(Renewal::Renewed(renewed(1)))
        .after(SECOND)
        .again()
        .asks(Rename(renewed(1), Entry { stamp: secs(BEGIN + 1), ..renewed(2) }));
}

#[test]
fn a_renewal_by_key_begins_with_a_look_that_finds_the_nonce() {
    by_key(here())
        .asks(Look)
        .answer(found(cluttered(&[open(7), held(9), held(7)])))
        .asks(Rename(held(7), renewed(1)))
        .answer(DONE)
        .ends(Renewal::Renewed(renewed(1)));
}

#[test]
fn a_request_changes_the_timeout_and_the_owner() {
    let owner = Owner::Two(Process { pid: 1, start: 1 }, Process { pid: 2, start: 2 });
    let request = RenewRequest { timeout: Some(millis(1500)), owner: Some(owner) };
    let to = Entry { timeout: millis(1500), owner, ..renewed(1) };

    Play::of(Renew::new(held(7), request, here())).asks(Rename(held(7), to));
}

#[test]
fn a_renewal_elsewhere_names_its_origin_and_drops_the_owner() {
    let any_start = Owner::One(Process { pid: 42, start: 0 });
    for (origin, owner) in [
        (ORIGIN, OWNER),
        (Origin { time: 2, ..ORIGIN }, any_start),
        (Origin { pids: 2, ..ORIGIN }, Owner::Nobody),
        (Origin { boot: 2, ..ORIGIN }, Owner::Nobody),
    ] {
        let to = Entry { origin, owner, ..renewed(1) };
        renew(LocalContext { origin, ..here() }).asks(Rename(held(7), to));
    }
}

#[test]
fn in_another_time_namespace_both_start_times_are_dropped() {
    let process = |start| Process { pid: 42, start };
    let from = Entry { owner: Owner::Two(process(1), process(2)), ..held(7) };
    let origin = Origin { time: 2, ..ORIGIN };
    let owner = Owner::Two(process(0), process(0));
    let to = Entry { owner, origin, ..renewed(1) };
    let there = LocalContext { origin, ..here() };

    Play::of(Renew::new(from.clone(), RenewRequest::default(), there)).asks(Rename(from, to));

    let nobody = Entry { owner: Owner::Nobody, ..held(7) };
    let to = Entry { owner: Owner::Nobody, origin, ..renewed(1) };
    Play::of(Renew::new(nobody.clone(), RenewRequest::default(), there)).asks(Rename(nobody, to));
}

/// Somebody with the key has renewed the lock, and its holder does not know.
#[test]
fn a_renewal_goes_on_from_the_name_that_a_key_gave_the_holding() {
    let by_key = Entry { timeout: secs(60), ..renewed(1) };
    let next = Entry { timeout: secs(60), ..renewed(2) };

    let looks = renew(here())
        .answer(failed(Fault::Missing))
        .asks(Look)
        .answer(seen(std::slice::from_ref(&by_key)));

    looks.asks(Rename(by_key, next.clone())).answer(DONE).ends(Renewal::Renewed(next));
}

#[test]
fn a_failed_renewal_looks_which_name_is_there() {
    for fault in [Fault::Missing, Fault::Taken, BROKEN] {
        let look = || renew(here()).answer(failed(fault)).asks(Look);
        // The new name: done. The old name: not done. Neither: lost.
        look().answer(seen(&[renewed(1)])).ends(Renewal::Renewed(renewed(1)));
        look().answer(seen(&[held(7)])).ends(Renewal::Failed(fault));
        look().answer(seen(&[held(9)])).ends(Renewal::Lost(Some(held(9))));
        look().answer(seen(&[open(9)])).ends(Renewal::Lost(None));
        look().answer(seen(&[open(7)])).ends(Renewal::Lost(None));
        look().answer(absent()).ends(Renewal::Lost(None));
    }
}

#[test]
fn a_failed_renewal_is_tried_again_under_a_fresh_name() {
    renew(here())
        .answer(failed(BROKEN))
        .answer(seen(&[held(7)]))
        .ends(Renewal::Failed(BROKEN))
        .again()
        .asks(Rename(held(7), renewed(2)))
        .answer(DONE)
        .ends(Renewal::Renewed(renewed(2)));
}

#[test]
fn when_the_look_fails_too_the_first_fault_is_reported() {
    renew(here())
        .answer(failed(BROKEN))
        .asks(Look)
        .answer(failed(DENIED))
        .ends(Renewal::Failed(BROKEN))
        .again()
        .asks(Look)
        .answer(seen(&[renewed(1)]))
        .ends(Renewal::Renewed(renewed(1)));
    by_key(here()).answer(failed(DENIED)).ends(Renewal::Failed(DENIED));
}

#[test]
fn a_torn_listing_is_read_eight_times_more_before_a_loss() {
    for torn in [vec![], vec![held(9), open(9)]] {
        let again = |play: Play<Renew>| play.asks(Look).answer(seen(&torn));

        by_key(here())
            .times(TORN, again)
            .asks(Look)
            .answer(seen(&[held(7)]))
            .asks(Rename(held(7), renewed(1)));
        let holder = torn.first().cloned();
        by_key(here())
            .times(TORN + 1, again)
            .ends(Renewal::Lost(holder.clone()))
            .again()
            .times(TORN + 1, again)
            .ends(Renewal::Lost(holder));
    }
    // One entry of another holder is not a torn listing.
    by_key(here()).answer(seen(&[held(9)])).ends(Renewal::Lost(Some(held(9))));
}

#[test]
fn a_fault_is_remembered_over_torn_listings() {
    renew(here())
        .answer(failed(BROKEN))
        .answer(seen(&[]))
        .asks(Look)
        .answer(seen(&[held(7)]))
        .ends(Renewal::Failed(BROKEN));
}

#[test]
fn of_two_names_of_a_holding_the_later_is_true() {
    for entries in [[held(7), renewed(1)], [renewed(1), held(7)]] {
        renew(here())
            .answer(failed(BROKEN))
            .answer(seen(&entries))
            .ends(Renewal::Renewed(renewed(1)));
    }
}

#[test]
fn on_shared_file_systems_the_directory_decides_not_the_answer() {
    let look = || renew(shared()).answer(DONE).asks(Look);

    look().answer(seen(&[renewed(1)])).ends(Renewal::Renewed(renewed(1)));
    look().answer(seen(&[held(7)])).asks(Rename(held(7), renewed(2)));
    look().answer(seen(&[held(9)])).ends(Renewal::Lost(Some(held(9))));
    look().answer(failed(BROKEN)).answer(seen(&[held(7)])).ends(Renewal::Failed(BROKEN));
}

#[test]
fn a_server_that_falsely_answers_done_ends_the_renewal() {
    let lie = |play: Play<Renew>| play.answer(DONE).asks(Look).answer(seen(&[held(7)]));

    renew(shared())
        .times(TORN + 1, lie)
        .ends(Renewal::Failed(Fault::Taken))
        .again()
        .asks(Rename(held(7), renewed(TORN as u32 + 2)));
}

#[test]
fn a_fault_of_an_earlier_start_is_not_reported() {
    renew(here())
        .answer(failed(BROKEN))
        .answer(failed(BROKEN))
        .ends(Renewal::Failed(BROKEN))
        .again()
        .answer(failed(DENIED))
        .asks(Look)
        .answer(failed(FULL))
        .ends(Renewal::Failed(DENIED));
}

#[test]
fn a_key_lengthens_a_processs_holding_and_never_shortens_it() {
    let holder = Process { pid: 1, start: 1 };
    let theirs = Entry { owner: Owner::One(holder), ..held(7) };
    let request = |timeout| RenewRequest { timeout: Some(timeout), owner: None };
    let shorter = theirs.timeout - millis(1);

    by_key_with(request(shorter), here(), 99)
        .answer(seen(std::slice::from_ref(&theirs)))
        .ends(Renewal::Shorter(theirs.clone()));
    for timeout in [theirs.timeout, theirs.timeout + millis(1)] {
        let to = Entry { timeout, owner: theirs.owner, ..renewed(1) };
        by_key_with(request(timeout), here(), 99)
            .answer(seen(std::slice::from_ref(&theirs)))
            .asks(Rename(theirs.clone(), to.clone()))
            .answer(DONE)
            .ends(Renewal::Renewed(to));
    }
    // Another key was faster, and has made it longer meanwhile.
    let same = RenewRequest { timeout: Some(theirs.timeout), owner: None };
    let longer = Entry {
        timeout: theirs.timeout + millis(1),
        renewals: theirs.renewals + 1,
        ..theirs.clone()
    };
    by_key_with(same, here(), 99)
        .answer(seen(std::slice::from_ref(&theirs)))
        .answer(failed(Fault::Missing))
        .asks(Look)
        .answer(seen(std::slice::from_ref(&longer)))
        .ends(Renewal::Shorter(longer));
    // The holder itself may shorten it, and anybody a holding without an owner.
    let to = Entry { timeout: shorter, owner: theirs.owner, ..renewed(1) };
    by_key_with(request(shorter), here(), 1)
        .answer(seen(std::slice::from_ref(&theirs)))
        .asks(Rename(theirs.clone(), to));
    let nobodys = Entry { owner: Owner::Nobody, ..theirs };
    let to = Entry { timeout: shorter, owner: Owner::Nobody, ..renewed(1) };
    by_key_with(request(shorter), here(), 99)
        .answer(seen(std::slice::from_ref(&nobodys)))
        .asks(Rename(nobodys, to));
}
