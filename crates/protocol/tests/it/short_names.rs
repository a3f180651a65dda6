//! File systems with short names: an entry is published only if it has room to grow; label and host are
//! cut to make that room.

use lockbydir_protocol::Operation::*;
use lockbydir_protocol::*;

use crate::acquire::request;
use crate::play::*;

/// The longest name that an entry of `request` can need, in bytes, with a token of 16 digits.
const NEEDED: usize = 126;
/// The same with a child.
const NEEDED_WITH_CHILD: usize = 146;

fn at(longest_name: usize) -> LocalContext {
    LocalContext { longest_name, ..here() }
}

fn long_texts(names_child: bool) -> AcquireRequest {
    let label = Label::new(&"A".repeat(40)).unwrap();
    AcquireRequest { host: Host::new("abcdefghijklmnop"), label, names_child, ..request() }
}

/// Returns the entry that a machine stages there.
fn staged(request: AcquireRequest, here: LocalContext) -> Entry {
    let mut machine = Acquire::new(request, here, None);
    machine.start(now());
    match machine.resume(now(), absent()) {
        Step::Perform(Stage(entry)) => entry,
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_lock_without_room_to_grow_is_refused_at_once() {
    for (names_child, needed) in [(false, NEEDED), (true, NEEDED_WITH_CHILD)] {
        let acquire = |longest| Acquire::new(long_texts(names_child), at(longest), None);

        Play::of(acquire(needed)).asks(Look);
        Play::of(acquire(needed - 1)).ends(Acquisition::NameTooLong(needed));
    }
}

#[test]
fn label_and_host_are_cut_to_leave_room_for_renewals() {
    for longest in NEEDED_WITH_CHILD..MAX_NAME {
        let entry = staged(long_texts(true), at(longest));
        let child = Process { pid: 4_194_304, start: 10u64.pow(11) - 1 };
        let Owner::One(first) = entry.owner else { panic!("{entry}") };
        let changes =
            RenewRequest { owner: Some(Owner::Two(first, child)), ..RenewRequest::default() };
        let often = Entry { renewals: u32::MAX - 1, ..entry.clone() };
        let late = Now { boot: millis(10u64.pow(12) - 1), ..now() };

        // This machine does not know the limit, like that of another process.
        let mut renew = Renew::new(often, changes, here());
        let Step::Perform(Rename(_, grown)) = renew.start(late) else { panic!() };

        assert!(entry.to_string().len() <= longest, "{entry}");
        assert!(grown.to_string().len() <= longest, "{longest} bytes: {grown}");
        assert_eq!((&grown.host, &grown.label), (&entry.host, &entry.label), "{longest} bytes");
    }
    let shortest = staged(long_texts(true), at(NEEDED_WITH_CHILD));
    assert_eq!((shortest.host.as_str(), shortest.label.as_str()), ("a", ""));
    let longer = staged(long_texts(true), at(NEEDED_WITH_CHILD + 15));
    assert_eq!((longer.host.as_str(), longer.label.as_str()), ("abcdefghijklmnop", ""));
    let longer = staged(long_texts(true), at(NEEDED_WITH_CHILD + 18));
    assert_eq!((longer.host.as_str(), longer.label.as_str()), ("abcdefghijklmnop", "A"));
    // Where names are long, nothing is cut to leave room for growth.
    let longest = staged(long_texts(true), at(MAX_NAME));
    assert_eq!(longest.host.as_str(), "abcdefghijklmnop");
    assert!((MAX_NAME - 2..=MAX_NAME).contains(&longest.to_string().len()), "{longest}");
}

#[test]
fn an_entry_without_room_is_cut_when_renewed_opened_or_broken() {
    let label = Label::new("abcdefghijkl").unwrap();
    let entry = Entry { fenced: true, renewals: 9, label: label.clone(), ..held(7) };
    let longest = entry.to_string().len();
    let here = at(longest);
    // The count and the stamp each have one digit more.
    let shorter = Label::new("abcdefghij").unwrap();

    let next = |state| entry.next(state, now().boot, &ORIGIN);
    let renewed = Entry { label: shorter.clone(), ..next(State::Held) };
    assert_eq!(renewed.to_string().len(), longest);
    Play::of(Renew::new(entry.clone(), RenewRequest::default(), here))
        .asks(Rename(entry.clone(), renewed));
    let opened = Entry { label: shorter, ..next(State::Open) };
    Play::of(Release::new(entry.clone(), true, here)).asks(Rename(entry.clone(), opened.clone()));
    let mut evict = Evict::new(here, true, secs(20));
    evict.start(now());
    evict.resume(now(), seen(std::slice::from_ref(&entry)));
    let step = evict.resume(now(), Answer::Liveness(Liveness::Alive));
    assert_eq!(step, Step::Perform(Rename(entry, opened)));
}

/// On a shared file system a machine believes only a look, and must recognize its own entry there.
#[test]
fn a_machine_knows_its_own_entry_with_a_cut_label() {
    let label = Label::new(&"A".repeat(40)).unwrap();
    let entry = Entry { label, ..held(7) };
    let shown = Entry::parse(&entry.to_string()).unwrap();
    assert_ne!(shown, entry, "the name has no room for all of it");

    let mut renew = Renew::new(shown, RenewRequest::default(), shared());
    let Step::Perform(Rename(_, sent)) = renew.start(now()) else { panic!() };
    renew.resume(now(), DONE);
    let listed = Entry::parse(&sent.to_string()).unwrap();

    assert_eq!(
        renew.resume(now(), seen(std::slice::from_ref(&listed))),
        Step::Finished(Renewal::Renewed(listed))
    );
    let staged = staged(long_texts(false), shared());
    assert_eq!(Entry::parse(&staged.to_string()), Some(staged));
}

#[test]
fn a_ticket_is_cut_to_the_longest_name() {
    let label = Label::new(&"A".repeat(40)).unwrap();
    let own_ticket = Ticket { label, host: Host::new("abcdefghijklmnop"), ..ticket(7, 7) };
    for longest in 120..=255 {
        let fit = own_ticket.clone().fit(longest);
        let name = Ticket { order: MAX_TOKEN, ..fit }.to_string();
        assert!(name.len() <= longest.min(MAX_NAME), "{longest} bytes: {name}");
    }
    assert_eq!(own_ticket.clone().fit(100).host.as_str(), "a");
    let short = ticket(7, 7);
    assert_eq!(short.clone().fit(143), short);
}
