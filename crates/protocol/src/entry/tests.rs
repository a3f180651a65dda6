use std::format;
use std::string::{String, ToString};

use proptest::prelude::*;

use super::*;

prop_compose! {
    pub(crate) fn origin()(boot: u64, time: u32, pids: u32) -> Origin {
        Origin { boot, time, pids }
    }
}

pub(crate) fn process() -> impl Strategy<Value = Process> {
    (any::<u32>(), 0..=10u64.pow(12)).prop_map(|(pid, start)| Process { pid, start })
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![
        Just(Owner::Nobody),
        process().prop_map(Owner::One),
        (process(), process()).prop_map(|(a, b)| Owner::Two(a, b)),
    ]
}

prop_compose! {
    pub(crate) fn entry()(
        held: bool, fenced: bool, token in 0..=MAX_TOKEN, nonce: u128, renewals: u32,
        timeout in 10..=MAX_TIMEOUT.as_millis() as u64, stamp in 0..MAX_STAMP,
        origin in origin(), owner in owner(), host in "[a-zA-Z0-9.\\-]{0,40}",
        label in "[ -~]{0,40}",
    ) -> Entry {
        Entry {
            state: if held { State::Held } else { State::Open },
            fenced, token, nonce: Nonce(nonce), renewals,
            timeout: Duration::from_millis(timeout), stamp: Duration::from_millis(stamp),
            origin, owner, host: Host::new(&host), label: Label::new(&label).unwrap(),
        }
    }
}

proptest! {
    #[test]
    fn every_entry_prints_a_portable_name_and_parses_back(entry in entry()) {
        let name = entry.to_string();
        prop_assert!(name.len() <= MAX_NAME, "{} bytes", name.len());
        prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()
            || b"-_.+=".contains(&b)), "{name}");
        prop_assert!(!name.ends_with('.'));
        let back = Entry::parse(&name).expect("our own name");
        prop_assert!(entry.label.as_str().starts_with(back.label.as_str()));
        prop_assert_eq!(Entry { label: back.label.clone(), ..entry }, back);
    }

    #[test]
    fn no_hostile_name_panics_or_has_two_spellings(name in ".{0,300}") {
        if let Some(entry) = Entry::parse(&name) {
            prop_assert_eq!(entry.to_string(), name);
        }
    }

    #[test]
    fn a_name_changed_in_one_byte_is_another_state_or_none(
        entry in entry(), at in 0usize..200, byte in 0u8..128,
    ) {
        let name = entry.to_string();
        let mut bytes = name.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        if let Some(other) = Entry::parse(&changed) {
            prop_assert_eq!(other.to_string(), changed);
        }
    }
}

#[test]
fn absurd_numbers_are_refused() {
    let good = "v1.held.p.17.00000000000000000000000007.0.10000.5.1f.2.3.811-12345.web1.-";
    // Boot and namespaces are written with all their digits.
    assert!(Entry::parse(good).is_none());
    let good = good.replace(".1f.2.3.", ".000000000000001f.00000002.00000003.");
    assert!(Entry::parse(&good).is_some(), "{good}");

    for (part, bad) in [
        (".17.", ".017."),
        (".17.", ".+17."),
        (".17.", ".-1."),
        (".17.", ".1000000000000000000."),
        (".17.", ".99999999999999999999999999."),
        (".10000.", ".0."),
        (".10000.", ".9."),
        (".10000.", ".315360000001."),
        ("811-12345", "811"),
        ("811-12345", "4294967296-1"),
        ("v1.", "v2."),
        ("held", "HELD"),
        (".p.", ".x."),
        (".-", "."),
        (".-", ".=41=4"),
        (".-", ".=61"),
        ("web1", "web_1"),
    ] {
        let name = good.replace(part, bad);
        assert!(Entry::parse(&name).is_none(), "{name}");
    }
}

#[test]
fn a_nonce_of_more_than_128_bits_is_refused() {
    let most = Nonce(u128::MAX).to_string();
    assert_eq!(Nonce::parse(&most), Some(Nonce(u128::MAX)));
    assert_eq!(Nonce::parse(&format!("8{}", &most[1..])), None);
}

#[test]
fn a_label_of_one_dash_is_escaped_where_it_fits() {
    let dash = crate::text::Label::new("-").expect("a label");

    assert_eq!(dash.spell(3), "=2d");
    assert_eq!(dash.spell(2), "-");
}
