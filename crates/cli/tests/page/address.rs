//! What the page shows: the filter, and the lock that the page's address names.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockbydir_player::{Contender, Error, Event, How, Source, What};

use crate::browser::{DESKTOP, PHONE, Page};
use crate::load::{now, served};
use crate::{Scene, end};

const CARDS: &str = "document.querySelectorAll('.cards li:not([hidden])').length";
const OF: &str = "document.querySelector('#of').innerText";
const EMPTY: &str = "[document.querySelector('#empty')].filter((one) => !one.hidden)[0]?.innerText";

/// Returns two held locks and their page, opened with this fragment in its address.
fn two_locks(hash: &str) -> (Scene, Page) {
    let mut scene = Scene::new();
    scene.run(&["acquire", "-q", "-t", "10m", "--label", "one", "jobs"]);
    scene.run(&["acquire", "-q", "-t", "10m", "--label", "two", "other"]);
    scene.url = format!("{}{hash}", scene.url);
    let mut page = scene.open(DESKTOP);
    page.see("document.querySelectorAll('.card').length === 2");
    (scene, page)
}

/// Waits until the lanes are this many rows high, including each lock's heading if all locks are shown.
#[track_caller]
fn rows(page: &mut Page, count: usize) {
    let height = count * 28;
    page.see(&format!("document.querySelector('#tall').style.height === '{height}px'"));
}

#[test]
fn escape_empties_the_filter_and_shows_all_again() {
    let (scene, mut page) = two_locks("");
    rows(&mut page, 4);

    page.press("/");
    for letter in ["o", "t", "h"] {
        page.press(letter);
    }
    page.see(&format!("{CARDS} === 1"));
    rows(&mut page, 2);
    page.press("Escape");

    page.see("document.querySelector('#filter').value === ''");
    page.see(&format!("{CARDS} === 2"));
    rows(&mut page, 4);
    assert_eq!(page.eval("document.activeElement.id"), "");
    page.was_fine(&scene.url);
}

#[test]
fn a_filter_without_a_match_says_so() {
    let (scene, mut page) = two_locks("#jobs");
    rows(&mut page, 1);

    page.press("/");
    page.press("z");

    page.see(&format!("{CARDS} === 0"));
    page.see(&format!("{EMPTY}?.startsWith('No waiter or holder matches the filter')"));
    page.was_fine(&scene.url.replace("#jobs", ""));
}

#[test]
fn an_address_of_a_missing_lock_says_so_until_it_appears() {
    let (mut scene, mut page) = two_locks("#no%20such");

    page.see(&format!("{OF} === 'no such'"));
    page.see(&format!("{EMPTY}?.startsWith('No lock no such has been seen here.')"));
    rows(&mut page, 0);
    page.press("t");
    page.see("document.querySelector('#table caption').innerText.startsWith('No lock no such')");
    page.press("t");
    scene.run(&["acquire", "-q", "-t", "10m", "no such"]);
    rows(&mut page, 1);
    page.see(&format!("{EMPTY} === undefined"));

    // A fragment that is not valid text.
    page.eval("location.hash = '#%zz'");
    page.see(&format!("{OF} === '%zz'"));
    rows(&mut page, 0);
    assert_eq!(end(&mut scene.server), Some(0));
    page.was_fine(scene.url.split('#').next().unwrap());
}

#[test]
fn the_page_follows_its_address_and_the_history() {
    let (scene, mut page) = two_locks("");
    rows(&mut page, 4);

    page.eval("location.hash = '#jobs'");
    page.see(&format!("{OF} === 'jobs'"));
    rows(&mut page, 1);
    page.eval("location.hash = '#other'");
    page.see(&format!("{OF} === 'other'"));
    page.eval("[...document.querySelectorAll('.card')][0].click()");
    page.see(&format!("{OF} === 'jobs' && location.hash === '#jobs'"));

    for of in ["other", "jobs", "All locks"] {
        page.eval("history.back()");
        page.see(&format!("{OF} === '{of}'"));
    }
    rows(&mut page, 4);
    page.eval("history.forward()");
    page.see(&format!("{OF} === 'jobs'"));
    page.eval("location.hash = ''");
    page.see(&format!("{OF} === 'All locks'"));
    // The keyboard's link to the lanes has an address that is not a lock.
    page.eval("document.querySelector('.skip').click()");
    page.see("document.activeElement.id === 'scroller'");
    assert_eq!(page.eval(OF), "All locks");

    page.look(PHONE);
    page.eval("document.querySelector('#all').click()");
    page.see("document.querySelector('#main').dataset.shows === 'lanes'");
    page.eval("history.back()");
    page.see("document.querySelector('#main').dataset.shows === 'locks'");
    page.was_fine(&scene.url);
}

/// A source of a holding that is over, with a clock that can leap ahead.
struct Leaping(Vec<Event>, Arc<AtomicBool>);

impl Source for Leaping {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        if self.0.is_empty() {
            std::thread::sleep(up_to);
        }
        Ok(std::mem::take(&mut self.0))
    }

    fn now(&self) -> f64 {
        now() + if self.1.load(Ordering::Relaxed) { 2000.0 } else { 0.0 }
    }
}

#[test]
fn a_forgotten_time_is_not_shown_as_free() {
    let by = Contender {
        id: "a".into(),
        host: "web1".into(),
        pid: Some(1),
        command: None,
        label: None,
        since: None,
    };
    let event = |what| Event { at: now(), lock: "jobs".into(), what };
    let (timeout_s, remaining_s, how) = (60.0, 60.0, How::Free);
    let acquired = What::Acquired { by: by.clone(), token: 1, timeout_s, remaining_s, how };
    let (events, leaps) = (vec![event(acquired), event(What::Released { by })], Arc::default());
    let url = served(Leaping(events, Arc::clone(&leaps)));
    let mut page = Page::open(&url, DESKTOP);
    rows(&mut page, 2);

    page.press(" ");
    page.see("document.querySelector('#pause').getAttribute('aria-pressed') === 'true'");
    leaps.store(true, Ordering::Relaxed);

    page.see(&format!("{EMPTY}?.startsWith('No longer recorded: 15 min are kept')"));
    page.was_fine(&url);
}
