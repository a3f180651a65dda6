//! Acquiring: lost races, faults, lies, and what is not ours.

use lockbydir_protocol::*;

use crate::acquire::*;
use crate::play::*;
use Operation::*;

#[test]
fn who_loses_the_install_clears_its_stage_away_and_judges_the_winner() {
    installing(here())
        .told(failed(Fault::Taken))
        .asks(Look)
        .told(seen(&[held(7)]))
        .asks(Unstage(mine(0, now())))
        .told(DONE)
        .asks(Look)
        .told(seen(&[held(7)]))
        .asks(AskLiveness(OWNER));
}

#[test]
fn after_four_lost_races_the_next_try_has_its_turn() {
    let lose =
        |play: Play<Acquire>| play.told(failed(Fault::Missing)).asks(Look).told(seen(&[open(7)]));
    let play = acquire().told(seen(&[open(7)])).times(ROUNDS, lose);

    play.asks(Rename(open(7), mine(ROUNDS as u32, now())))
        .told(failed(Fault::Taken))
        .told(seen(&[open(7)]))
        .ends(busy(Fault::Taken))
        .again()
        .told(seen(&[open(7)]))
        .times(ROUNDS, lose)
        .asks(Rename(open(7), mine(2 * ROUNDS as u32 + 1, now())));
}

#[test]
fn after_four_stages_that_could_not_be_installed_the_next_try_has_its_turn() {
    let lose = |play: Play<Acquire>| {
        play.told(DONE)
            .told(failed(Fault::Taken))
            .asks(Look)
            .told(absent())
            .told(DONE)
            .asks(Look)
            .told(absent())
    };
    let play = acquire().told(absent()).times(ROUNDS, lose).asks(Stage(mine(ROUNDS as u32, now())));

    play.told(DONE)
        .told(failed(Fault::Taken))
        .told(absent())
        .asks(Unstage(mine(ROUNDS as u32, now())))
        .told(DONE)
        .told(absent())
        .ends(busy(Fault::Taken));
}

#[test]
fn a_true_refusal_shows_when_nothing_is_in_the_way() {
    for fault in [DENIED, BROKEN] {
        installing(here())
            .told(failed(fault))
            .asks(Look)
            .told(absent())
            .asks(Unstage(mine(0, now())))
            .told(DONE)
            .asks(Look)
            .told(absent())
            .ends(Acquisition::Failed(fault));
        // Where something is, it may pass.
        acquire()
            .told(seen(&[open(7)]))
            .told(failed(fault))
            .asks(Look)
            .told(seen(&[held(9)]))
            .ends(busy(fault));
    }
    installing(here())
        .told(failed(FULL))
        .told(absent())
        .told(DONE)
        .told(absent())
        .asks(Stage(mine(1, now())));
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_reported() {
    for fault in [Fault::Missing, Fault::Taken, FULL] {
        acquire().told(failed(fault)).ends(busy(fault));
        acquire().told(absent()).told(failed(fault)).ends(busy(fault));
    }
    for fault in [DENIED, BROKEN, Fault::NoPlace { code: 20 }, Fault::ReadOnly { code: 30 }] {
        acquire().told(failed(fault)).ends(Acquisition::Failed(fault));
        acquire().told(absent()).told(failed(fault)).ends(Acquisition::Failed(fault));
    }
}

#[test]
fn a_stage_that_failed_is_forgotten_and_the_next_try_makes_one() {
    acquire()
        .told(absent())
        .told(failed(FULL))
        .ends(busy(FULL))
        .again()
        .told(absent())
        .asks(Stage(mine(1, now())));
}

#[test]
fn when_the_look_after_an_install_fails_what_is_still_staged_is_taken_back() {
    installing(here())
        .told(failed(DENIED))
        .asks(Look)
        .told(failed(BROKEN))
        .asks(Unstage(mine(0, now())))
        .told(DONE)
        .ends(Acquisition::Failed(BROKEN));
    // A taken one was not staged.
    acquire().told(seen(&[open(7)])).told(failed(DENIED)).told(failed(FULL)).ends(busy(FULL));
}

#[test]
fn foreign_things_and_other_users_are_reported_and_nothing_is_touched() {
    let foreign = |why| Acquisition::Foreign(why);
    let two = [held(7), open(9)];

    for (sight, outcome) in [
        (Observation::Foreign(Foreign::Symlink), foreign(Foreign::Symlink)),
        (Observation::Directory(cluttered(&[])), foreign(Foreign::Holds("thing".into()))),
        (Observation::Directory(cluttered(&two[1..])), foreign(Foreign::Holds("thing".into()))),
        (Observation::Directory(strange(&two[1..])), Acquisition::Stranger(1000)),
        (Observation::Directory(strange(&[])), Acquisition::Stranger(1000)),
    ] {
        let answer = Answer::Seen(sight);
        acquire().told(answer.clone()).ends(outcome.clone());
        installing(here())
            .told(failed(Fault::Taken))
            .told(answer.clone())
            .asks(Unstage(mine(0, now())))
            .told(DONE)
            .ends(outcome.clone());
        acquire().told(seen(&[open(7)])).told(failed(Fault::Taken)).told(answer).ends(outcome);
    }
}

#[test]
fn a_torn_listing_is_read_eight_times_more_and_then_foreign() {
    let torn = seen(&[open(7), open(9)]);
    let again = |play: Play<Acquire>| play.asks(Look).told(torn.clone());

    acquire()
        .times(TORN, again)
        .asks(Look)
        .told(torn.clone())
        .ends(Acquisition::Foreign(Foreign::TwoEntries))
        .again()
        .times(TORN, again)
        .asks(Look)
        .told(seen(&[open(7)]))
        .asks(Rename(open(7), mine(0, now())))
        // Read well in between: it counts from the beginning.
        .told(failed(Fault::Taken))
        .times(TORN, again)
        .asks(Look);
}

#[test]
fn own_entry_found_after_an_error_means_that_it_was_done() {
    let (installed, taken) = (mine(0, now()), mine(0, now()));

    installing(here())
        .told(failed(BROKEN))
        .asks(Look)
        .told(seen(std::slice::from_ref(&installed)))
        .ends(Acquisition::Got(installed, AcquiredFrom::Free));
    acquire()
        .told(seen(&[open(7)]))
        .told(failed(Fault::Missing))
        .asks(Look)
        .told(seen(std::slice::from_ref(&taken)))
        .ends(Acquisition::Got(taken, AcquiredFrom::HandedOver(open(7))));
}

#[test]
fn own_entry_among_several_or_open_is_not_yet_ours() {
    let installed = mine(0, now());
    let opened = Entry { state: State::Open, ..installed.clone() };

    for entries in [vec![installed.clone(), held(7)], vec![held(7), installed.clone()]] {
        installing(here())
            .told(failed(Fault::Taken))
            .told(seen(&entries))
            .asks(Look)
            .told(seen(std::slice::from_ref(&installed)))
            .ends(Acquisition::Got(installed.clone(), AcquiredFrom::Free));
    }
    installing(here()).told(failed(Fault::Taken)).told(seen(&[opened])).asks(Unstage(installed));
}

#[test]
fn own_entry_beside_a_foreign_thing_is_ours_unless_the_directory_is_anothers() {
    let installed = mine(0, now());

    installing(here())
        .told(failed(Fault::Taken))
        .told(found(cluttered(std::slice::from_ref(&installed))))
        .ends(Acquisition::Got(installed.clone(), AcquiredFrom::Free));
    installing(here())
        .told(failed(Fault::Taken))
        .told(found(strange(std::slice::from_ref(&installed))))
        .asks(Unstage(installed));
}

#[test]
fn an_entry_with_our_nonce_is_judged_like_any_other_before_we_have_published_one() {
    let forged = Entry { nonce: wish().nonce, ..held(8) };

    acquire().told(seen(&[forged])).asks(AskLiveness(OWNER));
}

#[test]
fn where_others_may_change_it_the_directory_is_believed_and_not_the_answer() {
    let installed = mine(0, now());
    let taken = mine(0, now());

    installing(shared())
        .told(DONE)
        .asks(Look)
        .told(seen(std::slice::from_ref(&installed)))
        .ends(Acquisition::Got(installed.clone(), AcquiredFrom::Free));
    installing(shared()).told(DONE).asks(Look).told(absent()).asks(Unstage(installed));
    acquire_on(shared())
        .told(seen(&[open(7)]))
        .told(DONE)
        .asks(Look)
        .told(seen(std::slice::from_ref(&taken)))
        .ends(Acquisition::Got(taken, AcquiredFrom::HandedOver(open(7))));
}

#[test]
fn a_server_that_calls_done_what_it_has_not_done_ends_the_try() {
    let lie = |play: Play<Acquire>| play.told(DONE).asks(Look).told(seen(&[open(7)]));

    acquire_on(shared()).told(seen(&[open(7)])).times(ROUNDS + 1, lie).ends(busy(Fault::Taken));
}

#[test]
fn a_bare_lock_that_comes_back_each_time_it_is_removed_ends_the_try() {
    let old = |play: Play<Acquire>| {
        play.asks(Look)
            .told(seen(&[]))
            .asks(ReadFileClock)
            .told(Answer::FileClock(stamp(secs(WALL + 100))))
            .asks(RemoveDir(changed()))
            .told(DONE)
    };

    acquire().times(ROUNDS + 1, old).asks(Look).told(seen(&[])).ends(busy(Fault::Taken));
}
