//! Groups, given by name or number.

/// Parses a group, given by its number or its name.
pub(crate) fn parse(text: &str) -> Result<u32, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| format!("`{text}` is too large for a group's number"));
    }
    named(text).ok_or_else(|| format!("there is no group `{text}`; give its name or its number"))
}

/// Looks up a group in `/etc/group`, or with `getent` in the system's other sources (LDAP, systemd).
#[cfg(unix)]
fn named(name: &str) -> Option<u32> {
    let of_lines = |lines: &str| lines.lines().find_map(|line| number_of(line, name));
    let file = std::fs::read_to_string("/etc/group").unwrap_or_default();
    of_lines(&file).or_else(|| {
        let asked = std::process::Command::new("getent").args(["group", "--", name]).output();
        of_lines(&String::from_utf8_lossy(&asked.ok()?.stdout))
    })
}

/// Lock directories have no group on Windows.
#[cfg(windows)]
fn named(_: &str) -> Option<u32> {
    None
}

/// Returns the number in a line `NAME:PASSWORD:NUMBER:MEMBERS`, if it has this name.
#[cfg(unix)]
fn number_of(line: &str, name: &str) -> Option<u32> {
    let mut fields = line.split(':');
    let is_it = fields.next() == Some(name);
    fields.nth(1).filter(|_| is_it)?.parse().ok()
}
