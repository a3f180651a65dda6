//! The variable `LOCKBYDIR_HELD`: the locks under which a command runs, and the keys that hold them. It
//! is a hint: whether a key still holds its lock, only the lock itself says.
//!
//! Its items are separated by spaces, the outermost lock first. An item is a key, `=`, and the lock's
//! name as in `LOCKBYDIR_NAME`, in which each byte that is not a letter, a digit or one of `/._-~:,@` is
//! written as `%` and two hexadecimal digits.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::Path;

use lockbydir::Key;

pub(crate) const VARIABLE: &str = "LOCKBYDIR_HELD";

/// Limits the length of the variable, in bytes: the kernel refuses a command with a variable of 128 KiB.
/// Beyond it the outermost locks are left out.
const LONGEST: usize = 64 * 1024;

/// Returns the key by which this process runs under the lock of this name, according to the variable.
pub(crate) fn key_of(name: &Path) -> Option<Key> {
    let held = std::env::var_os(VARIABLE)?;
    let name = encoded(name.as_os_str());
    items(&held).filter(|(_, held)| *held == name).filter_map(|(key, _)| key.parse().ok()).last()
}

/// Returns the variable for a command that also runs under these locks.
pub(crate) fn with<'a>(added: impl IntoIterator<Item = (&'a Path, Key)>) -> OsString {
    extended(&std::env::var_os(VARIABLE).unwrap_or_default(), added)
}

fn extended<'a>(outer: &OsStr, added: impl IntoIterator<Item = (&'a Path, Key)>) -> OsString {
    let added: Vec<_> =
        added.into_iter().map(|(name, key)| (key.to_string(), encoded(name.as_os_str()))).collect();
    let is_replaced = |name: &str| added.iter().any(|(_, added)| added == name);
    let outer = items(outer).filter(|(key, name)| key.parse::<Key>().is_ok() && !is_replaced(name));
    let all = outer.map(|(key, name)| format!("{key}={name}"));
    let all: Vec<_> = all.chain(added.iter().map(|(key, name)| format!("{key}={name}"))).collect();
    let mut length = 0;
    let fits = |item: &&String| {
        length += item.len() + 1;
        length <= LONGEST
    };
    let kept = all.iter().rev().take_while(fits).count();
    all[all.len() - kept..].join(" ").into()
}

/// Returns the items that have the form of one, as keys and encoded names.
fn items(held: &OsStr) -> impl Iterator<Item = (&str, &str)> {
    held.to_str().unwrap_or_default().split(' ').filter_map(|item| item.split_once('='))
}

fn encoded(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for &byte in name.as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'-' | b'~' | b':' | b',' | b'@' => text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use lockbydir::engine::Nonce;

    use super::*;

    fn key(number: u64) -> Key {
        Key::new(number, Nonce(u128::from(number)))
    }

    #[test]
    fn an_inner_lock_is_added_and_the_same_one_replaced() {
        let outer = extended("".as_ref(), [("/a b".as_ref(), key(1)), ("/c=%".as_ref(), key(2))]);
        let inner = extended(&outer, [("/d".as_ref(), key(3)), ("/a b".as_ref(), key(4))]);

        let found: Vec<_> = items(&inner).collect();
        let keys = [key(2), key(3), key(4)].map(|key| key.to_string());
        assert_eq!(found, [(&*keys[0], "/c%3D%25"), (&*keys[1], "/d"), (&*keys[2], "/a%20b")]);
    }

    #[test]
    fn what_is_no_item_is_left_out() {
        let garbage = format!("x  =y {}=/kept 1-2=/z %%% =", key(5));

        let kept = extended(garbage.as_ref(), []);

        assert_eq!(kept.to_str(), Some(&*format!("{}=/kept", key(5))));
    }

    #[test]
    fn a_long_variable_loses_its_outermost_locks() {
        let mut held = OsString::new();
        for number in 1..2000 {
            held = extended(&held, [(format!("/{number:0>99}").as_ref(), key(number))]);
        }

        assert!(held.len() <= LONGEST, "{}", held.len());
        let (first, last) = (items(&held).next().unwrap(), items(&held).last().unwrap());
        assert_eq!(last.0, key(1999).to_string());
        assert_ne!(first.0, key(1).to_string());
    }
}
