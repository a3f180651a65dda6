//! The contract of engines, written once and run on each: first the promises by their names, then
//! what else a lock can do. A crate that provides an engine includes this folder by `#[path]`, and
//! calls `contract! { ITS_WORLD }`.

#![allow(unreachable_pub, reason = "each binary sees it as a module of its own")]

pub(crate) mod a_crash_anywhere_leaves_a_lock_that_is_free_again_within_its_timeout;
pub(crate) mod a_lock_that_nobody_wants_leaves_nothing_behind;
pub(crate) mod a_waiters_timeout_never_shortens_a_holders;
pub(crate) mod at_least;
pub(crate) mod at_most_one_valid_holder;
pub(crate) mod keys;
pub(crate) mod looks;
pub(crate) mod losses;
pub(crate) mod names_of_others_are_never_touched;
pub(crate) mod numbers_grow;
pub(crate) mod only_the_holder_ends_a_hold_or_a_judge_of_an_expired_or_dead_one;
pub(crate) mod reentry;
pub(crate) mod renewals;
pub(crate) mod semaphore;
pub(crate) mod several;
#[cfg(feature = "tokio")]
pub(crate) mod tasks;
pub(crate) mod the_queue_moves;
pub(crate) mod who_gives_up_never_gets_it_later;

use std::thread;
use std::time::{Duration, Instant};

use lockbydir::{Guard, Lock, Patience, Ticket};
use lockbydir_protocol::promise;

/// The place of one test's locks. Each world is new, and nobody else uses it.
pub(crate) trait World: Sync {
    /// The shortest timeout that can be distinguished from a pause of a busy machine.
    const SHORTEST: Duration;
    /// Whether the death of a process is noticed before its timeout.
    const SEES_DEATH: bool;

    fn new() -> Self;

    /// Returns the place below which the locks are: a folder, or a URL.
    fn folder(&self) -> String;

    /// Returns the same place by a name that this process treats as another place: so a user of it
    /// contends like another process.
    fn folder_of_another_process(&self) -> String;

    /// Asserts that nothing is left behind that no lock needs any more.
    fn assert_clean(&self);
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Returns the lock of most tests, which has no patience.
pub(crate) fn jobs<W: World>(world: &W) -> Lock {
    Lock::new(world.folder() + "/jobs").patience(Patience::NONE)
}

/// Returns the same lock, as another process names it.
pub(crate) fn same_jobs<W: World>(world: &W) -> Lock {
    Lock::new(world.folder_of_another_process() + "/jobs").patience(Patience::NONE)
}

/// Returns a timeout that is longer than a pause of a busy machine.
pub(crate) fn calm<W: World>() -> Duration {
    W::SHORTEST.max(secs(4))
}

/// Returns the lock with more patience than any test needs.
pub(crate) fn patient(lock: &Lock) -> Lock {
    lock.clone().patience(secs(60))
}

/// Waits until a condition can be seen, for a minute at most.
#[track_caller]
pub(crate) fn see(what: &str, mut is_seen: impl FnMut() -> bool) {
    let end = Instant::now() + secs(60);
    while !is_seen() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        thread::sleep(ms(2));
    }
}

/// Plays a scene until it goes well, four times at most: a pause of a busy machine may spoil one of
/// them, a fault spoils all.
#[track_caller]
pub(crate) fn goes_well<E: std::fmt::Debug>(mut scene: impl FnMut(usize) -> Result<(), E>) {
    let spoilt: Vec<E> = (0..4).map_while(|nth| scene(nth).err()).collect();
    assert!(spoilt.len() < 4, "each time: {spoilt:?}");
}

/// Waits until there are this many waiters in the queue, and returns their tickets.
#[track_caller]
pub(crate) fn see_in_queue(lock: &Lock, how_many: usize) -> Vec<Ticket> {
    let mut queue = Vec::new();
    see("who queues", || {
        queue = lock.status().unwrap().queue;
        queue.len() == how_many
    });
    queue
}

/// Waits until the holder counts the holding as over.
pub(crate) fn see_over(guard: &Guard) {
    see("the deadline", || !guard.is_held());
}

/// A process that lives until it is dropped, for locks that depend on one.
pub(crate) struct Process(std::process::Child);

impl Process {
    pub(crate) fn start() -> Process {
        let mut listener = std::process::Command::new(if cfg!(windows) { "cmd" } else { "cat" });
        if cfg!(windows) {
            listener.args(["/c", "set /p x="]);
        }
        Process(listener.stdin(std::process::Stdio::piped()).spawn().expect("a listener"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the name of a promise as that of a module.
fn as_module(promise: &str) -> String {
    promise.to_lowercase().replace(' ', "_").replace(|c: char| c != '_' && !c.is_alphanumeric(), "")
}

pub(crate) fn every_promise_has_a_module(modules: &[&str]) {
    for promise in promise::ALL {
        assert!(modules.contains(&as_module(promise).as_str()), "no module for `{promise}`");
    }
}

/// Defines one test for each part of the contract, on this world. Parts that are left out here are
/// dead code.
macro_rules! contract {
    ($world:ty) => {
        $crate::contract::on! { $world;
            at_most_one_valid_holder {
                a_held_lock_excludes_and_a_released_one_is_free,
                a_dropped_guard_releases,
                threads_of_two_processes_exclude_each_other,
                a_lock_expires_after_its_timeout_and_not_before,
            }
            only_the_holder_ends_a_hold_or_a_judge_of_an_expired_or_dead_one {
                a_living_holder_is_not_broken,
                breaking_a_free_lock_does_nothing,
                an_expired_holding_is_broken_and_reported,
                a_holder_notices_a_break_by_force,
                an_unknown_key_ends_nothing,
            }
            numbers_grow {
                tokens_grow_over_holdings,
                tokens_grow_over_a_break_and_an_expiry,
                tokens_of_a_fenced_lock_grow_too,
            }
            a_waiters_timeout_never_shortens_a_holders {
                a_waiter_with_a_short_timeout_waits_for_a_long_one,
            }
            who_gives_up_never_gets_it_later {
                patience_ends_in_time_and_reports_the_holder,
                a_thread_that_gives_up_passes_its_turn_on,
                an_interrupt_ends_a_wait_and_its_ticket,
                an_interrupt_reaches_the_local_queue,
                an_interrupt_raised_before_ends_a_later_wait,
            }
            the_queue_moves {
                a_release_wakes_a_waiter,
                threads_are_served_in_arrival_order,
                processes_are_served_in_arrival_order,
                waiters_see_their_position,
            }
            a_crash_anywhere_leaves_a_lock_that_is_free_again_within_its_timeout {
                takeover_after_expiry_is_reported_to_one_successor,
                a_kept_lock_that_nobody_renews_expires,
                the_lock_of_a_dead_process_is_free_within_its_timeout,
            }
            a_lock_that_nobody_wants_leaves_nothing_behind {
                a_waiter_gives_up_while_the_lock_is_released,
            }
            names_of_others_are_never_touched {
                two_names_are_two_locks,
            }
            renewals {
                renewals_keep_the_lock,
                the_renewer_keeps_the_lock_for_many_timeouts,
                a_longer_timeout_counts_from_now,
                a_shorter_timeout_counts_from_now,
                a_late_renewal_succeeds_if_nobody_took_the_lock,
                a_second_process_is_added,
            }
            losses {
                the_renewer_reports_a_loss_before_the_deadline,
                wait_lost_returns_before_the_deadline,
                a_renewal_reports_the_new_holder,
            }
            keys {
                a_kept_lock_is_renewed_and_released_by_its_key_alone,
                a_guard_notices_a_release_by_its_key_when_it_renews,
                a_key_does_not_shorten_the_holding_of_another_process,
                a_guard_notices_a_renewal_by_its_key,
            }
            at_least {
                a_release_before_the_time_leaves_it_held,
                a_release_after_the_time_frees_it,
                a_least_time_may_be_longer_than_the_timeout,
                a_waiter_gets_it_at_that_time,
                what_is_lost_or_ended_by_its_key_is_not_left_held,
                what_its_caller_never_got_is_free_at_once,
            }
            semaphore {
                each_holder_has_a_slot_of_its_own,
                a_waiter_gets_any_slot_that_is_released,
                slots_are_given_in_arrival_order,
                a_wait_for_a_slot_ends_and_leaves_nothing,
                never_more_hold_than_there_are_slots,
                a_slot_that_expires_is_given_to_the_first_waiter,
                others_may_say_another_number_of_slots,
                the_number_of_slots_has_limits,
            }
            several {
                all_are_held_and_all_are_released,
                none_is_held_if_one_is_taken,
                one_patience_counts_for_all,
                an_interrupt_releases_what_is_held,
                opposite_orders_do_not_block_each_other,
                a_loss_of_one_is_a_loss_of_all,
                what_is_held_is_kept_while_others_are_waited_for,
                the_same_lock_twice_is_refused,
            }
            looks {
                a_free_lock_is_seen,
                a_held_lock_is_seen,
                an_expired_lock_is_seen,
                waiters_in_the_queue_are_seen,
                every_lock_below_a_folder_is_listed,
                cleaning_keeps_held_locks,
            }
            reentry {
                the_last_guard_of_a_thread_releases_the_lock,
            }
        }
        $crate::contract::of_tasks! { $world }
    };
}

#[cfg(feature = "tokio")]
macro_rules! of_tasks {
    ($world:ty) => {
        $crate::contract::modules! { $world;
            tasks {
                tasks_exclude_each_other,
                patience_ends_the_first_and_the_second_task,
                a_dropped_future_never_takes_the_lock,
                futures_dropped_at_random_lose_no_wake_up,
            }
        }
    };
}

#[cfg(not(feature = "tokio"))]
macro_rules! of_tasks {
    ($world:ty) => {};
}

macro_rules! on {
    ($world:ty; $($module:ident { $($part:ident),+ $(,)? })+) => {
        $crate::contract::modules! { $world; $($module { $($part),+ })+ }

        #[test]
        fn every_promise_has_a_module() {
            $crate::contract::every_promise_has_a_module(&[$(stringify!($module)),+]);
        }
    };
}

macro_rules! modules {
    ($world:ty; $($module:ident { $($part:ident),+ $(,)? })+) => {
        $(mod $module {
            use super::*;
            $(#[test]
            fn $part() {
                let world = <$world as $crate::contract::World>::new();
                $crate::contract::$module::$part(&world);
                $crate::contract::World::assert_clean(&world);
            })+
        })+
    };
}

pub(crate) use {contract, modules, of_tasks, on};
