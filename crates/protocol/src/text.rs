//! The two short texts in an entry's name: host and label. Only this module escapes and limits them.

use alloc::string::String;
use core::fmt;

/// The longest host name in an entry, in bytes; short, to leave room for the label.
const MAX_HOST: usize = 16;
/// The longest label, in bytes before escaping.
const MAX_LABEL: usize = 40;

/// The holder's host: the first part of its name, lower case, at most 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Host {
    bytes: [u8; MAX_HOST],
    length: usize,
}

impl Host {
    /// Takes the portable part of a host name; `unknown` if nothing is left.
    #[must_use]
    pub fn new(name: &str) -> Host {
        let first = name.split('.').next().unwrap_or("");
        let kept: String = first
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| if is_host_char(c) { c } else { '-' })
            .take(MAX_HOST)
            .collect();
        Host::of(if kept.is_empty() { "unknown" } else { &kept })
    }

    fn of(text: &str) -> Host {
        let mut bytes = [0; MAX_HOST];
        let length = text.len().min(MAX_HOST);
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        Host { bytes, length }
    }

    /// Returns its first `room` bytes, at least one.
    pub(crate) fn cut(&self, room: usize) -> Host {
        Host::of(&self.as_str()[..self.length.min(room.max(1))])
    }

    pub(crate) fn parse(text: &str) -> Option<Host> {
        let fits = !text.is_empty() && text.len() <= MAX_HOST;
        (fits && text.chars().all(is_host_char)).then(|| Host::of(text))
    }

    /// Returns the host as it is in the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_host_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// A short text that says what a lock is held for, for people; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Label(String);

/// Why a label was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelError {
    /// Longer than 40 bytes.
    TooLong,
    /// Something other than printable ASCII.
    NotPrintable,
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LabelError::TooLong => "a label has at most 40 characters",
            LabelError::NotPrintable => "a label is made of printable ASCII characters",
        })
    }
}

impl core::error::Error for LabelError {}

impl Label {
    /// Creates a label of at most 40 printable ASCII characters. When a name has no room for all of
    /// it, its end is cut off.
    pub fn new(text: &str) -> Result<Label, LabelError> {
        if !text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            Err(LabelError::NotPrintable)
        } else if text.len() > MAX_LABEL {
            Err(LabelError::TooLong)
        } else {
            Ok(Label(text.into()))
        }
    }

    /// Returns the text as a person wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the portable spelling, in at most `room` bytes: `-` for no label, `=41` for a byte that
    /// is not portable, and never a dot at the end.
    pub(crate) fn spell(&self, room: usize) -> String {
        let mut out = String::new();
        for byte in self.0.bytes() {
            let plain = is_label_byte(byte);
            if out.len() + if plain { 1 } else { 3 } > room {
                break;
            }
            if plain {
                out.push(byte as char);
            } else {
                push_escaped(&mut out, byte);
            }
        }
        if out.ends_with('.') {
            out.pop();
            if out.len() + 3 <= room {
                push_escaped(&mut out, b'.');
            } else {
                out.truncate(out.trim_end_matches('.').len());
            }
        }
        match out.as_str() {
            "-" if room >= 3 => "=2d".into(),
            "" | "-" => "-".into(),
            _ => out,
        }
    }

    /// Returns as much of the label as can be spelled in `room` bytes.
    pub(crate) fn cut(&self, room: usize) -> Label {
        Label::parse(&self.spell(room)).unwrap_or_default()
    }

    pub(crate) fn parse(text: &str) -> Option<Label> {
        if text == "-" {
            return Some(Label::default());
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            if first == b'=' {
                let hex = rest.get(1..3)?;
                out.push(u8::from_str_radix(hex, 16).ok()? as char);
                rest = &rest[3..];
            } else if is_label_byte(first) {
                out.push(first as char);
                rest = &rest[1..];
            } else {
                return None;
            }
        }
        Label::new(&out).ok().filter(|label| !label.is_empty())
    }
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
}

fn push_escaped(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push('=');
    out.push(HEX[usize::from(byte >> 4)] as char);
    out.push(HEX[usize::from(byte & 15)] as char);
}
