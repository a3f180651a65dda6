//! Servers with known faults in their leases are warned about, once a process.

use std::sync::OnceLock;

use etcd_client::Client;
use lockbydir::printable;

/// Whom to warn.
static WARNED: OnceLock<fn(&str)> = OnceLock::new();

/// Calls this, from a thread of its own, when a server is so old that its leases have known
/// faults. Set it once, before the first lock; later ones are ignored.
pub fn on_warning(told: fn(&str)) {
    let _ = WARNED.set(told);
}

/// The first release of each queue without the known faults: keep-alives that were answered for
/// leases already revoked (fixed in 3.4.38, 3.5.23 and 3.6.5) and leases revoked by members that
/// lead no more (3.4.31 and 3.5.13).
const SOUND: [[u32; 3]; 3] = [[3, 4, 38], [3, 5, 23], [3, 6, 5]];

/// Asks a member for its version and warns if it is old.
pub(crate) async fn warn_of_old(mut client: Client, host: String) {
    let Some(told) = WARNED.get() else { return };
    // Not every user may ask.
    let Ok(status) = client.status().await else { return };
    if let Some(sound) = sound_instead(status.version()) {
        let version = printable(status.version());
        told(&format!(
            "etcd {version} at {host} has known faults in its leases; locks guard against them, but upgrade it to {sound} or later"
        ));
    }
}

/// Is this release without the known faults? What cannot be read is not.
pub(crate) fn is_sound(version: &str) -> bool {
    numbers(version).is_some() && sound_instead(version).is_none()
}

/// The release to have instead of this one; none if it is sound, or of unknown make.
fn sound_instead(version: &str) -> Option<String> {
    let version = numbers(version)?;
    let sound = SOUND.iter().find(|sound| sound[..2] == version[..2]).unwrap_or(&SOUND[0]);
    (version < *sound).then(|| sound.map(|part| part.to_string()).join("."))
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let plain = version.split(['-', '+']).next()?;
    let numbers: Vec<u32> = plain.split('.').map_while(|part| part.parse().ok()).collect();
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{is_sound, sound_instead};

    #[test]
    fn old_releases_are_told_from_sound_ones() {
        for (version, instead) in [
            ("3.4.23", Some("3.4.38")),
            ("3.4.38", None),
            ("3.5.0-rc.1", Some("3.5.23")),
            ("3.5.23", None),
            ("3.6.4", Some("3.6.5")),
            ("3.6.5", None),
            ("3.3.27", Some("3.4.38")),
            ("3.7.0", None),
            ("4.0.0", None),
            ("hello", None),
            ("", None),
        ] {
            assert_eq!(sound_instead(version).as_deref(), instead, "{version}");
            assert_eq!(is_sound(version), instead.is_none() && version.contains('.'), "{version}");
        }
    }
}
