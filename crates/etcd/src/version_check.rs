//! A warning about servers with known faults in their leases, once a process.

use std::sync::OnceLock;

use lockbydir::printable;

use crate::api::{Client, StatusRequest};

/// The function that receives warnings.
static ON_WARNING: OnceLock<fn(&str)> = OnceLock::new();

/// Sets a function that is called, from a thread of its own, when a server is so old that its leases
/// have known faults. Set it once, before the first lock; later calls are ignored.
pub fn on_warning(warn: fn(&str)) {
    let _ = ON_WARNING.set(warn);
}

/// The first release of each release series without the known faults: keep-alives that were answered
/// for leases already revoked (fixed in 3.4.38, 3.5.23 and 3.6.5), and leases revoked by members that
/// no longer lead (fixed in 3.4.31 and 3.5.13).
const SOUND: [[u32; 3]; 3] = [[3, 4, 38], [3, 5, 23], [3, 6, 5]];

/// Asks a member for its version and warns if it is old.
pub(crate) async fn warn_of_old(client: Client, host: String) {
    let Some(warn) = ON_WARNING.get() else { return };
    // Not every user has the right to ask.
    let Ok(status) = client.call(StatusRequest {}).await else { return };
    if let Some(sound) = upgrade_to(&status.version) {
        let version = printable(&status.version);
        warn(&format!(
            "etcd {version} at {host} has known faults in its leases; locks guard against them, but upgrade it to {sound} or later"
        ));
    }
}

/// Returns true if this release has none of the known faults; false if the version cannot be parsed.
pub(crate) fn is_sound(version: &str) -> bool {
    numbers(version).is_some() && upgrade_to(version).is_none()
}

/// Returns the release to upgrade to; `None` if this one is sound, or cannot be parsed.
fn upgrade_to(version: &str) -> Option<String> {
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
    use super::{is_sound, upgrade_to};

    #[test]
    fn old_releases_are_distinguished_from_sound_ones() {
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
            assert_eq!(upgrade_to(version).as_deref(), instead, "{version}");
            assert_eq!(is_sound(version), instead.is_none() && version.contains('.'), "{version}");
        }
    }
}
