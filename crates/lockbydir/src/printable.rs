//! Text that others wrote, made safe for a terminal: names of files, labels, commands.

use std::path::Path;

/// Scripts that are written from right to left, by blocks: their letters, digits and marks change
/// the order of the text beside them on a line.
const RIGHT_TO_LEFT: [(char, char); 5] = [
    // Hebrew, Arabic, Syriac, Thaana, N'Ko, Samaritan, Mandaic.
    ('\u{590}', '\u{8ff}'),
    // Forms of Hebrew and Arabic letters.
    ('\u{fb1d}', '\u{fdff}'),
    ('\u{fe70}', '\u{feff}'),
    // Ancient scripts, Hanifi Rohingya, Yezidi.
    ('\u{10800}', '\u{10fff}'),
    // Mende Kikakui, Adlam, Siyaq numbers, Arabic mathematics.
    ('\u{1e800}', '\u{1efff}'),
];
/// Characters that Unicode classifies as letters but that are invisible or look blank: Hangul
/// fillers, blanks among the Egyptian hieroglyphs.
const BLANK: [char; 6] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}', '\u{13441}', '\u{13442}'];

/// Returns true if a terminal may show this character as it is. These are printable ASCII, and the
/// letters and digits of all scripts that are written from left to right, except invisible ones.
///
/// All other characters may move the cursor (control characters), hide text (spaces, blank letters,
/// characters without a width), or change the direction of writing (letters and marks from right to
/// left).
#[must_use]
pub fn is_printable(c: char) -> bool {
    let is_within = |(first, last): &(char, char)| (*first..=*last).contains(&c);
    matches!(c, ' '..='~')
        || c.is_alphanumeric() && !BLANK.contains(&c) && !RIGHT_TO_LEFT.iter().any(is_within)
}

/// Formats a path for a terminal: characters that are not [printable](is_printable) are escaped.
///
/// ```
/// assert_eq!(lockbydir::printable("b\u{e4}ckup\u{1b}[2J"), "b\u{e4}ckup\\u{1b}[2J");
/// ```
#[must_use]
pub fn printable(path: impl AsRef<Path>) -> String {
    path.as_ref()
        .to_string_lossy()
        .chars()
        .map(|c| if is_printable(c) { c.to_string() } else { c.escape_unicode().to_string() })
        .collect()
}

/// Formats bytes as printable ASCII: all other bytes of a name are escaped and never reach a
/// terminal.
pub(crate) fn printable_bytes(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|&byte| match byte {
            b'\\' => "\\\\".into(),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_are_escaped() {
        let bad = [
            // Controls of both kinds, and line ends.
            ('\0', '\u{1f}'),
            ('\u{7f}', '\u{9f}'),
            ('\u{2028}', '\u{2029}'),
            // All characters that Unicode makes invisible (`Default_Ignorable_Code_Point`).
            ('\u{ad}', '\u{ad}'),
            ('\u{34f}', '\u{34f}'),
            ('\u{61c}', '\u{61c}'),
            ('\u{115f}', '\u{1160}'),
            ('\u{17b4}', '\u{17b5}'),
            ('\u{180b}', '\u{180f}'),
            ('\u{200b}', '\u{200f}'),
            ('\u{202a}', '\u{202e}'),
            ('\u{2060}', '\u{206f}'),
            ('\u{3164}', '\u{3164}'),
            ('\u{fe00}', '\u{fe0f}'),
            ('\u{feff}', '\u{feff}'),
            ('\u{ffa0}', '\u{ffa0}'),
            ('\u{fff0}', '\u{fff8}'),
            ('\u{1bca0}', '\u{1bca3}'),
            ('\u{1d173}', '\u{1d17a}'),
            ('\u{e0000}', '\u{e0fff}'),
            // Blanks.
            ('\u{a0}', '\u{a0}'),
            ('\u{1680}', '\u{1680}'),
            ('\u{2000}', '\u{200a}'),
            ('\u{202f}', '\u{202f}'),
            ('\u{205f}', '\u{205f}'),
            ('\u{2800}', '\u{2800}'),
            ('\u{3000}', '\u{3000}'),
            ('\u{13441}', '\u{13442}'),
            // Letters, digits and marks from right to left: Hebrew, Arabic, N'Ko, Adlam, ancient
            // scripts.
            ('\u{5d0}', '\u{5ea}'),
            ('\u{627}', '\u{64a}'),
            ('\u{660}', '\u{669}'),
            ('\u{7c0}', '\u{7ea}'),
            ('\u{fb1d}', '\u{fb4f}'),
            ('\u{fb50}', '\u{fdff}'),
            ('\u{fe70}', '\u{fefc}'),
            ('\u{10900}', '\u{1091b}'),
            ('\u{1e900}', '\u{1e943}'),
            ('\u{1ee00}', '\u{1eef1}'),
            // Characters without a meaning, or with a private one.
            ('\u{e000}', '\u{f8ff}'),
            ('\u{fffd}', '\u{fffd}'),
        ];
        for c in bad.into_iter().flat_map(|(first, last)| first..=last) {
            let escaped = format!("\\u{{{:x}}}", u32::from(c));
            assert_eq!(printable(c.to_string()), escaped);
        }
    }

    #[test]
    fn left_to_right_letters_and_digits_are_kept() {
        for text in ["nightly-2 ~/x", "b\u{e4}ckup", "\u{437}\u{430}\u{434}", "\u{3b1}\u{3b2}"] {
            assert_eq!(printable(text), text);
        }
        // Devanagari with its vowel signs, Thai, Hangul, Han, Georgian, Cherokee.
        for text in ["\u{915}\u{93e}\u{92e}", "\u{e07}\u{e32}\u{e19}", "\u{c791}", "\u{5de5}"] {
            assert_eq!(printable(text), text);
        }
        for text in ["\u{10d0}", "\u{13a0}"] {
            assert_eq!(printable(text), text);
        }
    }
}
