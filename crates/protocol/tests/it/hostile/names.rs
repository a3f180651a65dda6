//! Names: any bytes can be parsed, and any entry or ticket can be printed.

use lockbydir_protocol::*;

use super::Chance;

/// Returns true if a name is lower case, and portable to Windows and to file systems that do not
/// distinguish cases.
fn is_portable(name: &str) -> bool {
    let is =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.+=".contains(&byte);
    name.len() <= MAX_NAME && name.bytes().all(is) && !name.ends_with('.')
}

/// Asserts that a label parses back unchanged, unless the name had no room for all of it.
fn assert_is_kept(name: &str, fields: usize, label: &Label, back: &Label) {
    let spelled = name.splitn(fields, '.').last().expect("a label").len();
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let text = label.as_str();
    let most: usize = text.bytes().map(|byte| if plain(byte) { 1 } else { 3 }).sum::<usize>() + 2;
    let fits = name.len() - spelled + most <= MAX_NAME;
    let is_whole = label == back;
    assert!(is_whole || !fits && text.starts_with(back.as_str()), "{text:?} in {name}");
}

/// Checks that an entry parses back from its name.
///
/// # Panics
/// If it does not.
pub(crate) fn entry(bytes: &[u8]) {
    if let Some(entry) = std::str::from_utf8(bytes).ok().and_then(Entry::parse) {
        assert_eq!(entry.to_string().as_bytes(), bytes, "two spellings");
        assert!(is_portable(&entry.to_string()), "{entry}");
        assert!((MIN_TIMEOUT..=MAX_TIMEOUT).contains(&entry.timeout) && entry.token <= MAX_TOKEN);
        assert!(entry.stamp < entry.deadline() && entry.deadline() < entry.expires_at());
    }

    let mut chance = Chance::new(bytes);
    let entry = chance.entry();
    let name = entry.to_string();
    assert!(is_portable(&name), "{name}");
    let back = Entry::parse(&name).unwrap_or_else(|| panic!("not read back: {name}"));
    assert_is_kept(&name, 14, &entry.label, &back.label);
    assert_eq!(back, Entry { label: back.label.clone(), ..entry });
}

/// Checks that a ticket parses back from its name, and has a place among others.
///
/// # Panics
/// If it does not.
pub(crate) fn ticket(bytes: &[u8]) {
    if let Some(ticket) = std::str::from_utf8(bytes).ok().and_then(Ticket::parse) {
        assert_eq!(ticket.to_string().as_bytes(), bytes, "two spellings");
        assert!(is_portable(&ticket.to_string()) && ticket.order <= MAX_TOKEN, "{ticket}");
    }

    let mut chance = Chance::new(bytes);
    let (one, other) = (chance.ticket(), chance.ticket());
    let name = one.to_string();
    assert!(is_portable(&name), "{name}");
    let back = Ticket::parse(&name).unwrap_or_else(|| panic!("not read back: {name}"));
    assert_is_kept(&name, 10, &one.label, &back.label);
    assert_eq!(back, Ticket { label: back.label.clone(), ..one.clone() });

    // Tickets have the order of the protocol: first the order, then the nonce.
    assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
    if (one.order, one.nonce) != (other.order, other.nonce) {
        assert_eq!(one < other, (one.order, one.nonce) < (other.order, other.nonce));
    }
    let wall = std::time::Duration::from_micros(chance.number(u64::MAX));
    let now = Now { boot: wall, wall };
    let queue = [one, other];
    let last = chance.ticket().behind(&queue, now);
    assert!(last.order == MAX_TOKEN || queue.iter().all(|ticket| *ticket < last), "{last}");
    assert!(is_portable(&last.to_string()), "{last}");
}
