//! What every engine must keep, written once and run on each: the promises by their names, then what
//! else a lock can do. A crate that brings an engine shares this folder by `#[path]`, and says
//! `contract! { ITS_WORLD }`.

#![allow(unreachable_pub, reason = "each binary sees it as a module of its own")]

pub(crate) mod a_crash_anywhere_leaves_a_lock_that_is_free_again_within_its_timeout;
pub(crate) mod a_waiters_timeout_never_shortens_a_holders;
pub(crate) mod at_most_one_valid_holder;
pub(crate) mod keys;
pub(crate) mod looks;
pub(crate) mod losses;
pub(crate) mod names_of_others_are_never_touched;
pub(crate) mod numbers_grow;
pub(crate) mod only_the_holder_ends_a_hold_or_a_judge_of_an_expired_or_dead_one;
pub(crate) mod renewals;
#[cfg(feature = "tokio")]
pub(crate) mod tasks;
pub(crate) mod the_queue_moves;
pub(crate) mod who_gives_up_never_gets_it_later;

use std::thread;
use std::time::{Duration, Instant};

use lockbydir::{Guard, Lock, Patience, Ticket};
use lockbydir_protocol::promise;

/// Where the locks of one test are. Each is new, and nobody else knows of it.
pub(crate) trait World: Sync {
    /// The shortest timeout that can be told from a pause of a busy machine.
    const SHORTEST: Duration;
    /// Is a dead process seen before its timeout?
    const SEES_DEATH: bool;

    fn new() -> Self;

    /// What locks are below: a folder, or a URL.
    fn folder(&self) -> String;

    /// The same, by a name that this process takes for another one: so who uses it contends as if
    /// it were another process.
    fn folder_of_another_process(&self) -> String;

    /// Nothing may be left behind that no lock needs any more.
    fn assert_clean(&self);
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The lock of most tests. It gives up at once.
pub(crate) fn jobs<W: World>(world: &W) -> Lock {
    Lock::new(world.folder() + "/jobs").patience(Patience::NONE)
}

/// The same lock, as another process names it.
pub(crate) fn same_jobs<W: World>(world: &W) -> Lock {
    Lock::new(world.folder_of_another_process() + "/jobs").patience(Patience::NONE)
}

/// A timeout that a pause of a busy machine does not eat up.
pub(crate) fn calm<W: World>() -> Duration {
    W::SHORTEST.max(secs(4))
}

/// More patience than anything here takes.
pub(crate) fn patient(lock: &Lock) -> Lock {
    lock.clone().patience(secs(60))
}

/// Waits for what can be seen, and no longer than a minute.
#[track_caller]
pub(crate) fn see(what: &str, mut is_seen: impl FnMut() -> bool) {
    let end = Instant::now() + secs(60);
    while !is_seen() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        thread::sleep(ms(2));
    }
}

/// Waits until so many queue, and tells who.
#[track_caller]
pub(crate) fn see_in_queue(lock: &Lock, how_many: usize) -> Vec<Ticket> {
    let mut queue = Vec::new();
    see("who queues", || {
        queue = lock.status().unwrap().queue;
        queue.len() == how_many
    });
    queue
}

/// Waits until its holder counts it as over.
pub(crate) fn see_over(guard: &Guard) {
    see("the deadline", || !guard.is_held());
}

/// A process that lives until it is told to end, for locks that depend on one.
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

/// A promise's name as that of a module.
fn as_module(promise: &str) -> String {
    promise.to_lowercase().replace(' ', "_").replace(|c: char| c != '_' && !c.is_alphanumeric(), "")
}

pub(crate) fn every_promise_has_a_room(rooms: &[&str]) {
    for promise in promise::ALL {
        assert!(rooms.contains(&as_module(promise).as_str()), "no room for `{promise}`");
    }
}

/// One test of each part of the contract, on this world. Parts left out here are dead code.
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
                a_living_holder_is_left_in_peace,
                there_is_nothing_to_break,
                an_expired_holding_is_broken_and_its_holder_told_of,
                who_is_broken_by_force_learns_of_it,
                a_key_of_nobody_ends_nothing,
            }
            numbers_grow {
                tokens_grow_over_holdings,
                tokens_grow_over_a_break_and_a_expiry,
                a_fenced_lock_has_them_too,
            }
            a_waiters_timeout_never_shortens_a_holders {
                who_has_a_short_timeout_waits_for_a_long_one,
            }
            who_gives_up_never_gets_it_later {
                patience_ends_in_time_and_says_who_holds,
                a_thread_whose_patience_ends_leaves_its_place_to_the_next,
                an_interrupt_ends_a_wait_and_its_ticket,
                an_interrupt_reaches_threads_that_are_not_yet_in_queue,
                an_interrupt_raised_before_ends_the_wait_that_begins,
            }
            the_queue_moves {
                a_release_wakes_who_waits,
                threads_are_served_in_the_order_in_which_they_came,
                processes_are_served_in_the_order_in_which_they_came,
                who_waits_is_told_of_its_place,
            }
            a_crash_anywhere_leaves_a_lock_that_is_free_again_within_its_timeout {
                an_expired_lock_is_taken_over_and_exactly_one_successor_is_told,
                a_kept_lock_that_nobody_renews_expires,
                the_lock_of_a_dead_process_is_free_within_its_timeout,
            }
            names_of_others_are_never_touched {
                two_names_are_two_locks,
            }
            renewals {
                who_renews_holds_on,
                the_keeper_holds_on_for_many_timeouts,
                a_longer_timeout_counts_from_now,
                a_shorter_timeout_counts_from_now,
                a_late_renewal_succeeds_if_nobody_took_the_lock,
                a_second_process_is_named,
            }
            losses {
                the_keeper_tells_of_a_loss_before_the_deadline,
                one_waits_for_the_end_of_a_holding_and_hears_of_it_before,
                a_renewal_tells_who_holds_it_now,
            }
            keys {
                a_kept_lock_is_renewed_and_released_by_its_key_alone,
                a_guard_knows_nothing_of_a_release_by_its_key_until_it_renews,
                a_key_does_not_shorten_the_holding_of_another_process,
                a_guard_learns_of_a_renewal_by_its_key_in_its_process,
            }
            looks {
                a_free_lock_is_seen,
                a_held_lock_is_seen,
                an_expired_lock_is_seen,
                who_stands_in_queue_is_seen,
                every_lock_below_a_folder_is_listed,
                cleaning_leaves_what_is_held,
            }
        }
        $crate::contract::of_tasks! { $world }
    };
}

#[cfg(feature = "tokio")]
macro_rules! of_tasks {
    ($world:ty) => {
        $crate::contract::rooms! { $world;
            tasks {
                tasks_exclude_each_other,
                patience_ends_a_task_first_in_queue_and_one_behind_it,
                a_dropped_future_leaves_the_queue_and_never_takes_the_lock,
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
    ($world:ty; $($room:ident { $($part:ident),+ $(,)? })+) => {
        $crate::contract::rooms! { $world; $($room { $($part),+ })+ }

        #[test]
        fn every_promise_has_a_room() {
            $crate::contract::every_promise_has_a_room(&[$(stringify!($room)),+]);
        }
    };
}

macro_rules! rooms {
    ($world:ty; $($room:ident { $($part:ident),+ $(,)? })+) => {
        $(mod $room {
            use super::*;
            $(#[test]
            fn $part() {
                let world = <$world as $crate::contract::World>::new();
                $crate::contract::$room::$part(&world);
                $crate::contract::World::assert_clean(&world);
            })+
        })+
    };
}

pub(crate) use {contract, of_tasks, on, rooms};
