//! Acquiring: lost races, faults, false answers, and foreign directories.

use lockbydir_protocol::*;

use crate::acquire::*;
use crate::play::*;
use Operation::*;

#[test]
fn the_loser_of_an_install_removes_its_stage_and_judges_the_winner() {
    installing(here())
        .answer(failed(Fault::Taken))
        .asks(Look)
        .answer(seen(&[held(7)]))
        .asks(Unstage(mine(0, now())))
        .answer(DONE)
        .asks(Look)
        .answer(seen(&[held(7)]))
        .asks(AskLiveness(OWNER));
}

#[test]
fn after_four_lost_races_the_try_ends() {
    let lose = |play: Play<Acquire>| {
        play.answer(failed(Fault::Missing)).asks(Look).answer(seen(&[open(7)]))
    };
    let play = acquire().answer(seen(&[open(7)])).times(ROUNDS, lose);

    play.asks(Rename(open(7), mine(ROUNDS as u32, now())))
        .answer(failed(Fault::Taken))
        .answer(seen(&[open(7)]))
        .ends(busy(Fault::Taken))
        .again()
        .answer(seen(&[open(7)]))
        .times(ROUNDS, lose)
        .asks(Rename(open(7), mine(2 * ROUNDS as u32 + 1, now())));
}

#[test]
fn after_four_failed_installs_the_try_ends() {
    let lose = |play: Play<Acquire>| {
        play.answer(DONE)
            .answer(failed(Fault::Taken))
            .asks(Look)
            .answer(absent())
            .answer(DONE)
            .asks(Look)
            .answer(absent())
    };
    let play =
        acquire().answer(absent()).times(ROUNDS, lose).asks(Stage(mine(ROUNDS as u32, now())));

    play.answer(DONE)
        .answer(failed(Fault::Taken))
        .answer(absent())
        .asks(Unstage(mine(ROUNDS as u32, now())))
        .answer(DONE)
        .answer(absent())
        .ends(busy(Fault::Taken));
}

#[test]
fn a_refusal_is_reported_when_the_directory_is_absent() {
    for fault in [DENIED, BROKEN] {
        installing(here())
            .answer(failed(fault))
            .asks(Look)
            .answer(absent())
            .asks(Unstage(mine(0, now())))
            .answer(DONE)
            .asks(Look)
            .answer(absent())
            .ends(Acquisition::Failed(fault));
        // Where the directory is there, the fault may pass.
        acquire()
            .answer(seen(&[open(7)]))
            .answer(failed(fault))
            .asks(Look)
            .answer(seen(&[held(9)]))
            .ends(busy(fault));
    }
    installing(here())
        .answer(failed(FULL))
        .answer(absent())
        .answer(DONE)
        .answer(absent())
        .asks(Stage(mine(1, now())));
}

#[test]
fn faults_that_may_pass_are_tried_again_and_others_reported() {
    for fault in [Fault::Missing, Fault::Taken, FULL] {
        acquire().answer(failed(fault)).ends(busy(fault));
        acquire().answer(absent()).answer(failed(fault)).ends(busy(fault));
    }
    for fault in [DENIED, BROKEN, Fault::NoPlace { code: 20 }, Fault::ReadOnly { code: 30 }] {
        acquire().answer(failed(fault)).ends(Acquisition::Failed(fault));
        acquire().answer(absent()).answer(failed(fault)).ends(Acquisition::Failed(fault));
    }
}

#[test]
fn after_a_failed_stage_the_next_try_makes_another() {
    acquire()
        .answer(absent())
        .answer(failed(FULL))
        .ends(busy(FULL))
        .again()
        .answer(absent())
        .asks(Stage(mine(1, now())));
}

#[test]
fn when_the_look_after_an_install_fails_the_stage_is_removed() {
    installing(here())
        .answer(failed(DENIED))
        .asks(Look)
        .answer(failed(BROKEN))
        .asks(Unstage(mine(0, now())))
        .answer(DONE)
        .ends(Acquisition::Failed(BROKEN));
    // A take stages nothing.
    acquire().answer(seen(&[open(7)])).answer(failed(DENIED)).answer(failed(FULL)).ends(busy(FULL));
}

#[test]
fn foreign_directories_are_reported_and_not_touched() {
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
        acquire().answer(answer.clone()).ends(outcome.clone());
        installing(here())
            .answer(failed(Fault::Taken))
            .answer(answer.clone())
            .asks(Unstage(mine(0, now())))
            .answer(DONE)
            .ends(outcome.clone());
        acquire()
            .answer(seen(&[open(7)]))
            .answer(failed(Fault::Taken))
            .answer(answer)
            .ends(outcome);
    }
}

#[test]
fn a_torn_listing_is_read_eight_times_more_and_then_foreign() {
    let torn = seen(&[open(7), open(9)]);
    let again = |play: Play<Acquire>| play.asks(Look).answer(torn.clone());

    acquire()
        .times(TORN, again)
        .asks(Look)
        .answer(torn.clone())
        .ends(Acquisition::Foreign(Foreign::TwoEntries))
        .again()
        .times(TORN, again)
        .asks(Look)
        .answer(seen(&[open(7)]))
        .asks(Rename(open(7), mine(0, now())))
        // One good listing in between: the count begins anew.
        .answer(failed(Fault::Taken))
        .times(TORN, again)
        .asks(Look);
}

#[test]
fn own_entry_found_after_an_error_means_that_it_was_done() {
    let (installed, taken) = (mine(0, now()), mine(0, now()));

    installing(here())
        .answer(failed(BROKEN))
        .asks(Look)
        .answer(seen(std::slice::from_ref(&installed)))
        .ends(Acquisition::Got(installed, AcquiredFrom::Free));
    acquire()
        .answer(seen(&[open(7)]))
        .answer(failed(Fault::Missing))
        .asks(Look)
        .answer(seen(std::slice::from_ref(&taken)))
        .ends(Acquisition::Got(taken, AcquiredFrom::HandedOver(open(7))));
}

#[test]
fn own_entry_among_several_or_open_is_not_yet_ours() {
    let installed = mine(0, now());
    let opened = Entry { state: State::Open, ..installed.clone() };

    for entries in [vec![installed.clone(), held(7)], vec![held(7), installed.clone()]] {
        installing(here())
            .answer(failed(Fault::Taken))
            .answer(seen(&entries))
            .asks(Look)
            .answer(seen(std::slice::from_ref(&installed)))
            .ends(Acquisition::Got(installed.clone(), AcquiredFrom::Free));
    }
    installing(here())
        .answer(failed(Fault::Taken))
        .answer(seen(&[opened]))
        .asks(Unstage(installed));
}

#[test]
fn own_entry_beside_foreign_files_is_ours_except_for_other_users() {
    let installed = mine(0, now());

    installing(here())
        .answer(failed(Fault::Taken))
        .answer(found(cluttered(std::slice::from_ref(&installed))))
        .ends(Acquisition::Got(installed.clone(), AcquiredFrom::Free));
    installing(here())
        .answer(failed(Fault::Taken))
        .answer(found(strange(std::slice::from_ref(&installed))))
        .asks(Unstage(installed));
}

#[test]
fn an_entry_with_our_nonce_is_judged_before_we_publish_one() {
    let forged = Entry { nonce: request().nonce, ..held(8) };

    acquire().answer(seen(&[forged])).asks(AskLiveness(OWNER));
}

#[test]
fn on_shared_file_systems_the_directory_decides_not_the_answer() {
    let installed = mine(0, now());
    let taken = mine(0, now());

    installing(shared())
        .answer(DONE)
        .asks(Look)
        .answer(seen(std::slice::from_ref(&installed)))
        .ends(Acquisition::Got(installed.clone(), AcquiredFrom::Free));
    installing(shared()).answer(DONE).asks(Look).answer(absent()).asks(Unstage(installed));
    acquire_on(shared())
        .answer(seen(&[open(7)]))
        .answer(DONE)
        .asks(Look)
        .answer(seen(std::slice::from_ref(&taken)))
        .ends(Acquisition::Got(taken, AcquiredFrom::HandedOver(open(7))));
}

#[test]
fn a_server_that_falsely_answers_done_ends_the_try() {
    let lie = |play: Play<Acquire>| play.answer(DONE).asks(Look).answer(seen(&[open(7)]));

    acquire_on(shared()).answer(seen(&[open(7)])).times(ROUNDS + 1, lie).ends(busy(Fault::Taken));
}

#[test]
fn a_bare_lock_that_always_comes_back_ends_the_try() {
    let old = |play: Play<Acquire>| {
        play.asks(Look)
            .answer(seen(&[]))
            .asks(ReadFileClock)
            .answer(Answer::FileClock(stamp(secs(WALL + 100))))
            .asks(RemoveDir(changed()))
            .answer(DONE)
    };

    acquire().times(ROUNDS + 1, old).asks(Look).answer(seen(&[])).ends(busy(Fault::Taken));
}

/// A try that has installed its entry, whose look failed, and the look of the next try.
fn after_a_failed_look() -> (Entry, Play<Acquire>) {
    let installed = mine(0, now());
    let play = installing(shared())
        .answer(DONE)
        .asks(Look)
        .answer(failed(BROKEN))
        .asks(Unstage(installed.clone()))
        .answer(failed(Fault::Missing))
        .ends(Acquisition::Failed(BROKEN))
        .again()
        .asks(Look);
    (installed, play)
}

#[test]
fn an_install_before_a_failed_look_is_found_by_the_next_try() {
    let (installed, look) = after_a_failed_look();

    look.answer(seen(std::slice::from_ref(&installed)))
        .ends(Acquisition::Got(installed, AcquiredFrom::Free));
}

/// The second look fails, and the third does not show the entry, which is there.
#[test]
fn an_entry_that_a_listing_leaves_out_after_a_failed_look_is_still_ours() {
    let (installed, look) = after_a_failed_look();

    look.answer(seen(&[]))
        .asks(Unstage(installed.clone()))
        .answer(failed(Fault::Missing))
        .asks(Look)
        .answer(seen(std::slice::from_ref(&installed)))
        .ends(Acquisition::Got(installed, AcquiredFrom::Free));
}
