//! Histories written by hand, each with one fault.

use super::*;

fn judged(histories: &[(&str, &str)]) -> Verdict {
    let mut record = Record::default();
    for (worker, history) in histories {
        record.add(worker, history);
    }
    record.judge()
}

#[test]
fn a_good_history_is_clean() {
    let verdict = judged(&[
        ("a", "start 10 100 1 free\nend 20\nstart 50 150 3 free\nrenew 400\nend 300\n"),
        ("b", "start 25 125 2 free\nend 45\nstart 301 400 4 free\n"),
    ]);

    assert!(verdict.is_clean(), "{verdict:?}");
}

#[test]
fn two_holds_at_once_are_found() {
    let verdict =
        judged(&[("a", "start 10 100 1 free\nend 30\n"), ("b", "start 29 100 2 free\nend 40\n")]);

    assert_eq!(verdict.overlaps.len(), 1);
}

#[test]
fn an_overlap_with_a_long_hold_is_found_behind_short_ones() {
    let verdict = judged(&[
        ("a", "start 10 1000 1 free\nend 900\n"),
        ("b", "start 20 100 2 free\nend 30\nstart 500 600 3 free\nend 510\n"),
    ]);

    assert_eq!(verdict.overlaps.len(), 2);
}

#[test]
fn a_hold_never_ended_overlaps_until_its_deadline_and_not_after() {
    let open = ("a", "start 10 100 1 free\n");

    assert_eq!(judged(&[open, ("b", "start 99 200 2 free\nend 120\n")]).overlaps.len(), 1);
    assert!(judged(&[open, ("b", "start 100 200 2 free\nend 120\n")]).is_clean());
}

#[test]
fn a_killed_worker_holds_until_its_death() {
    let killed = ("a", "start 10 100 1 free\nkilled 50\n");

    assert_eq!(judged(&[killed, ("b", "start 49 200 2 free\nend 120\n")]).overlaps.len(), 1);
    assert!(judged(&[killed, ("b", "start 51 200 2 free\nend 120\n")]).is_clean());
}

#[test]
fn a_worker_killed_twice_died_the_first_time() {
    let killed = ("a", "start 10 100 1 free\nkilled 50\nkilled 60\n");

    assert!(judged(&[killed, ("b", "start 51 200 2 free\nend 120\n")]).is_clean());
}

#[test]
fn a_late_renewal_while_another_held_is_found() {
    let verdict = judged(&[
        ("a", "start 10 100 1 free\noutlived\nrenew 400\nend 350\n"),
        ("b", "start 120 220 2 expiry\nend 130\n"),
    ]);

    assert_eq!(verdict.overlaps.len(), 1);
}

#[test]
fn a_late_release_while_another_held_is_found() {
    let other = ("b", "start 120 220 2 expiry\nend 130\nreleased\n");

    let noticed = ("a", "start 10 100 1 free\noutlived\nend 140\nlost 140\n");
    assert!(judged(&[noticed, other]).is_clean());
    let unnoticed = ("a", "start 10 100 1 free\noutlived\nend 140\nreleased\n");
    assert_eq!(judged(&[unnoticed, other]).overlaps.len(), 1);
}

#[test]
fn a_token_that_does_not_grow_is_found() {
    let before = ("a", "start 10 100 7 free\nend 20\n");

    assert_eq!(judged(&[before, ("b", "start 30 100 7 free\nend 40\n")]).regressions.len(), 1);
    assert_eq!(judged(&[before, ("b", "start 30 100 6 free\nend 40\n")]).regressions.len(), 1);
    assert!(judged(&[before, ("b", "start 30 100 8 free\nend 40\n")]).is_clean());
}

#[test]
fn lies_and_unknown_lines_are_found() {
    assert_eq!(judged(&[("a", "lie held after the deadline\nnonsense\n")]).lies.len(), 2);
}

#[test]
fn a_last_line_cut_short_counts_as_not_written() {
    assert!(judged(&[("a", "start 10 100 1 free\nend 2")]).is_clean());
}

#[test]
fn removal_by_hand_ends_a_hold_and_restarts_numbers() {
    let removed = ("hand", "removed 40 45\n");
    let before = ("a", "start 10 100 9 free 5 8\n");

    let after = ("b", "start 50 150 3 free 30 46\nend 60\nreleased\n");
    assert!(judged(&[removed, before, after]).is_clean());
    assert_eq!(judged(&[before, after]).overlaps.len(), 1);

    // Published before the removal ended, recorded after it: it may have been removed.
    let between = ("b", "start 50 150 3 free 30 44\n");
    let next = ("c", "start 55 150 4 free 30 51\n");
    assert!(judged(&[removed, between, next]).is_clean());

    // Both after the removal: it excuses neither.
    let two = ("c", "start 55 150 2 free 30 51\nend 70\n");
    let verdict = judged(&[removed, before, after, two]);
    assert_eq!(verdict.overlaps.len(), 1);
    let later = ("c", "start 65 150 2 free 30 61\nend 70\n");
    assert_eq!(judged(&[removed, before, after, later]).regressions.len(), 1);
}

#[test]
fn an_early_loss_is_found_unless_removed_by_hand() {
    let robbed = ("a", "start 10 100 1 free\nlost 50\n");

    assert_eq!(judged(&[robbed]).robbed.len(), 1);
    assert!(judged(&[("a", "start 10 100 1 free\nlost 101\n")]).is_clean());
    assert!(judged(&[robbed, ("hand", "removed 20 30\n")]).is_clean());
}

#[test]
fn an_old_write_accepted_after_a_newer_holders_is_found() {
    let newer = ("b", "start 120 220 2 after-expiry\nwrite 125 accepted\nend 130\nreleased\n");
    let late = |word: &str| format!("start 10 100 1 free\noutlived\nwrite 140 {word}\nlost 141\n");

    assert!(judged(&[("a", &late("refused")), newer]).is_clean());
    assert_eq!(judged(&[("a", &late("accepted")), newer]).undercut.len(), 1);
    // Before any other write it does no harm.
    let early = "start 10 100 1 free\noutlived\nwrite 110 accepted\nlost 141\n";
    assert!(judged(&[("a", early), newer]).is_clean());
}

#[test]
fn removal_by_hand_excuses_only_writes_of_holds_during_it() {
    let removed = ("hand", "removed 40 45\n");
    let before = ("a", "start 48 148 5 handed-over 30 38\nwrite 50 accepted\nend 51\nlost 52\n");
    let after = ("b", "start 47 147 6 free 30 43\nwrite 55 accepted\nend 56\nreleased\n");
    assert!(judged(&[removed, before, after]).is_clean());
    assert_eq!(judged(&[before, after]).undercut.len(), 1);

    let old = ("a", "start 10 30 5 free 5 8\noutlived\nwrite 70 accepted\nlost 71\n");
    let next = ("b", "start 50 150 6 free 30 46\nwrite 60 accepted\nend 65\nreleased\n");
    assert_eq!(judged(&[removed, old, next]).undercut.len(), 1);
}

#[test]
fn a_hold_recorded_after_its_end_is_no_newer_holder() {
    let verdict = judged(&[
        ("a", "start 130 130 1 free 10 10\noutlived\nwrite 135 accepted\nlost 136\n"),
        ("b", "start 120 220 2 after-expiry\nwrite 140 accepted\nend 150\nreleased\n"),
    ]);

    assert!(verdict.is_clean(), "{verdict:?}");
}

#[test]
fn late_writes_are_counted() {
    let mut record = Record::default();
    record.add("a", "start 10 100 1 free\nwrite 140 refused\nlost 141\n");
    record.add("b", "start 120 220 2 free\nwrite 125 accepted\nend 130\nreleased\n");
    record.add("c", "start 150 160 3 free\nwrite 170 accepted\nend 180\nreleased\n");

    let late = record.late_writes();

    assert_eq!(late, LateWrites { tried: 2, overtaken: 1, refused: 1 });
}

#[test]
fn a_refused_write_of_a_valid_holder_is_found() {
    let verdict = judged(&[
        ("a", "start 10 100 9 free\nwrite 15 accepted\nend 20\nreleased\n"),
        ("b", "start 30 130 8 free\nwrite 35 refused\nend 40\nreleased\n"),
    ]);

    assert_eq!(verdict.shut_out.len(), 1);
}

#[test]
fn a_stall_is_found_if_an_able_worker_waited() {
    let stall = |histories: &[(&str, &str)]| {
        let mut record = Record::default();
        for (worker, history) in histories {
            record.add(worker, history);
        }
        record.judge_within(Duration::from_nanos(100)).stall.map(|(length, _)| length)
    };
    let first = ("a", "start 10 30 1 free\nend 20\nreleased\n");
    let late = ("b", "start 500 600 2 free 15\n");

    assert_eq!(stall(&[first, late]), Some(Duration::from_nanos(480)));
    assert_eq!(stall(&[first, ("b", "start 500 600 2 free 450\n")]), None);
    assert_eq!(stall(&[first, ("b", "start 500 600 2 free 15\nstopped 300\n")]), None);
    assert_eq!(stall(&[first, late, ("disk", "hindered 10 450\n")]), None);
    let gave_up = ("c", "gave-up 300 25\n");
    let next = ("b", "start 500 600 2 free 450\n");
    assert_eq!(stall(&[first, next, gave_up]), Some(Duration::from_nanos(275)));
}

#[test]
fn a_hold_awaited_while_another_held_is_contended() {
    let mut record = Record::default();
    record.add("a", "start 10 30 1 free 5\nend 20\nreleased\n");
    record.add("b", "start 25 40 2 handed-over 15\nend 30\nreleased\n");
    record.add("c", "start 45 60 3 free 44\nend 50\nreleased\n");

    assert_eq!(record.contended(), 1);
}

#[test]
fn a_broken_promise_is_reported_by_name() {
    let broken =
        judged(&[("a", "start 10 100 1 free\nend 30\n"), ("b", "start 29 100 2 free\nend 40\n")])
            .broken();

    let (promise, how) = broken.expect("an overlap");
    assert_eq!(promise, promise::AT_MOST_ONE_VALID_HOLDER);
    assert!(how.contains("worker a") && how.contains("worker b"), "{how}");
}
