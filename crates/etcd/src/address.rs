//! Addresses: `etcd://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...]/NAME[?ca=..&cert=..&key=..&tls=..]`,
//! and what an address leaves to the environment.

use std::path::PathBuf;

use lockbydir::printable;
use lockbydir::{Error, ErrorKind};
use percent_encoding::percent_decode_str;

/// The scheme of names that are kept on etcd.
pub(crate) const SCHEME: &str = "etcd";
/// The end of the key of a lock's record; the keys of its queue follow it after a slash.
pub(crate) const EXTENSION: &str = ".lockdir";
/// The port at which etcd serves clients, for hosts without a port.
const PORT: u16 = 2379;
/// The longest name of a lock, in bytes: far less than a request to etcd may have (1.5 MiB).
const LONGEST: usize = 1024;
/// The advice in messages about a wrong address: its example has neither password nor query.
const EXAMPLE: &str = "give one like `etcd://host1:2379,host2:2379/jobs`";

/// How to connect and log in, for all that a lock's own address does not say.
///
/// ```
/// // As the program `lockbydir` does it at its start:
/// lockbydir_etcd::register(lockbydir_etcd::Access::from_env());
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// A file with the certificates (PEM) of the authorities that sign the servers' certificates; also
    /// switches TLS on. Without it the system's authorities are trusted.
    pub ca: Option<PathBuf>,
    /// A file with our own certificate (PEM), for servers that ask for one.
    pub cert: Option<PathBuf>,
    /// A file with the private key of our certificate (PEM).
    pub key: Option<PathBuf>,
    /// Encrypt, even without any of the three files.
    pub tls: bool,
    /// The user to log in as.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password must not be printed.
        f.debug_struct("Access").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads `LOCKBYDIR_ETCD_CA`, `_CERT`, `_KEY` (paths), `_TLS` (`1`), `_USER` and `_PASSWORD`.
    #[must_use]
    pub fn from_env() -> Access {
        let variable = |name: &str| {
            std::env::var_os(format!("LOCKBYDIR_ETCD_{name}")).filter(|value| !value.is_empty())
        };
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        Access {
            ca: variable("CA").map(PathBuf::from),
            cert: variable("CERT").map(PathBuf::from),
            key: variable("KEY").map(PathBuf::from),
            tls: text("TLS").is_some_and(|value| is_yes(&value)),
            user: text("USER"),
            password: text("PASSWORD"),
        }
    }

    /// Returns true if the connection is to be encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls || self.ca.is_some() || self.cert.is_some()
    }
}

/// The address of a lock: the servers, how to log in, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) servers: Servers,
    /// The name of the lock, without its extension.
    pub(crate) name: String,
}

/// A cluster, and how to log in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Servers {
    /// Each `HOST:PORT`.
    pub(crate) hosts: Vec<String>,
    pub(crate) access: Access,
}

impl Address {
    /// Parses the address of a lock.
    pub(crate) fn parse(url: &str, defaults: &Access) -> Result<Address, Error> {
        let mut address = Address::parse_prefix(url, defaults)?;
        // The address may have the extension, as the paths that `list` shows.
        let whole = address.name.strip_suffix('/').unwrap_or(&address.name);
        if let Some(name) = whole.strip_suffix(EXTENSION).filter(|name| !name.is_empty()) {
            address.name = name.to_owned();
        }
        let wrong = |why: &str| Err(usage(url, why));
        match address.name.as_str() {
            "" => wrong("it has no lock's name after the hosts"),
            name if name.ends_with('/') => wrong("its name ends in a slash"),
            name if name.len() > LONGEST => wrong("its name is longer than 1024 bytes"),
            _ => Ok(address),
        }
    }

    /// Parses the address of a lock, or of all locks whose names begin with its name.
    pub(crate) fn parse_prefix(url: &str, defaults: &Access) -> Result<Address, Error> {
        let wrong = |why: &str| usage(url, why);
        let rest = url
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.strip_prefix("://"))
            .ok_or_else(|| wrong("it does not begin with `etcd://`"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(String::from).map_err(|_| wrong("a part of it is not UTF-8"))
        };

        let mut access = defaults.clone();
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(decoded(password)?)),
                None => (login, None),
            };
            access.user = Some(decoded(user)?);
            access.password = password.or(access.password);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            let path = || Some(PathBuf::from(&value)).filter(|path| !path.as_os_str().is_empty());
            match name {
                "ca" => access.ca = path(),
                "cert" => access.cert = path(),
                "key" => access.key = path(),
                "tls" => access.tls = value.is_empty() || is_yes(&value),
                _ => {
                    let name = printable(name);
                    return Err(wrong(&format!("`{name}` is none of ca, cert, key, tls")));
                }
            }
        }
        if access.cert.is_some() != access.key.is_some() {
            return Err(wrong("a certificate needs its private key, and the other way round"));
        }
        if access.user.is_some() && access.password.is_none() {
            return Err(wrong(
                "there is a user but no password; set LOCKBYDIR_ETCD_PASSWORD, or write `user:password@`",
            ));
        }
        let hosts = hosts.split(',').map(|host| with_port(host).ok_or(host));
        let hosts = hosts.collect::<Result<Vec<String>, &str>>().map_err(|host| {
            wrong(&format!("`{}` is not a host, or a host and a port", printable(host)))
        })?;
        let name = decoded(name)?;
        if name.chars().any(char::is_control) {
            return Err(wrong("its name has a control character in it"));
        }
        Ok(Address { servers: Servers { hosts, access }, name })
    }

    /// Returns the key of the lock's record; its queue is below that key.
    pub(crate) fn record(&self) -> String {
        format!("{}{EXTENSION}", self.name)
    }

    /// Returns the address for people and programs: without user, password and query.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("{SCHEME}://{}/{}", self.servers.hosts.join(","), self.record()))
    }
}

/// Returns false only for a plain no: a misspelt yes must not send a password in clear text.
fn is_yes(text: &str) -> bool {
    !matches!(text.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off")
}

fn usage(url: &str, why: &str) -> Error {
    let shown = printable(without_secrets(url));
    Error::new(ErrorKind::Usage, format!("`{shown}` is not an address of a lock: {why}; {EXAMPLE}"))
}

/// Returns an address without the user and password before an `@`.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (before, after) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let hosts = before.rsplit_once('@').map_or(before, |(_, hosts)| hosts);
    format!("{scheme}://{hosts}{after}")
}

/// Returns `HOST:PORT`, with etcd's own port if there is none; `None` if it is not a host.
fn with_port(host: &str) -> Option<String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
            (format!("[{address}]"), port)
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name.to_owned(), Some(port)),
            None => (host.to_owned(), None),
        },
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = !name.is_empty() && (name.starts_with('[') || name.chars().all(is_plain));
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port| port != 0)?,
        None => PORT,
    };
    is_name.then(|| format!("{name}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, Error> {
        Address::parse(url, &Access::default())
    }

    #[test]
    fn an_address_has_hosts_with_ports_and_a_name() {
        let address = parse("etcd://h1:1234,h2,[::1]:7/team/jobs").unwrap();

        assert_eq!(address.servers.hosts, ["h1:1234", "h2:2379", "[::1]:7"]);
        assert_eq!(address.name, "team/jobs");
        assert_eq!(address.record(), "team/jobs.lockdir");
        let path = address.path();
        assert_eq!(path.to_str(), Some("etcd://h1:1234,h2:2379,[::1]:7/team/jobs.lockdir"));
    }

    #[test]
    fn only_a_plain_no_switches_tls_off() {
        let is_tls = |url: &str| parse(url).expect(url).servers.access.is_tls();
        for yes in ["1", "true", "TRUE", "Yes", "on", "enabled", "tru"] {
            assert!(is_tls(&format!("etcd://h/jobs?tls={yes}")), "{yes}");
        }
        for no in ["0", "false", "No", "off"] {
            assert!(!is_tls(&format!("etcd://h/jobs?tls={no}")), "{no}");
        }
    }

    #[test]
    fn an_address_with_the_extension_is_the_same_lock() {
        for (name, record) in [
            ("team/jobs", "team/jobs.lockdir"),
            ("team/jobs.lockdir", "team/jobs.lockdir"),
            ("team/jobs.lockdir/?tls", "team/jobs.lockdir"),
            ("jobs.lockdir.lockdir", "jobs.lockdir.lockdir"),
        ] {
            assert_eq!(parse(&format!("etcd://h/{name}")).expect(name).record(), record, "{name}");
        }
    }

    #[test]
    fn an_address_may_have_login_and_certificates() {
        let address = parse("etcd://a%40b:p%3A%2F@h/jobs?ca=/x%20y&cert=c&key=k").unwrap();

        let access = &address.servers.access;
        assert_eq!(access.user.as_deref(), Some("a@b"));
        assert_eq!(access.password.as_deref(), Some("p:/"));
        assert_eq!(access.ca.as_deref(), Some("/x y".as_ref()));
        assert!(access.is_tls());
        assert!(!parse("etcd://h/jobs").unwrap().servers.access.is_tls());
        assert!(parse("etcd://h/jobs?tls").unwrap().servers.access.is_tls());
        assert!(!address.path().to_string_lossy().contains("p:/"));
    }

    #[test]
    fn an_address_overrides_the_environment() {
        let defaults =
            Access { user: Some("env".into()), password: Some("pw".into()), ..Access::default() };

        let plain = Address::parse("etcd://h/jobs", &defaults).unwrap().servers.access;
        let own = Address::parse("etcd://me@h/jobs", &defaults).unwrap().servers.access;

        assert_eq!((plain.user.as_deref(), plain.password.as_deref()), (Some("env"), Some("pw")));
        assert_eq!((own.user.as_deref(), own.password.as_deref()), (Some("me"), Some("pw")));
    }

    #[test]
    fn a_wrong_address_is_refused_without_its_password() {
        for (url, why) in [
            ("etcd://h", "no lock's name"),
            ("etcd://h/", "no lock's name"),
            ("etcd:///jobs", "not a host"),
            ("etcd://h1,,h2/jobs", "not a host"),
            ("etcd://h:99999/jobs", "not a host"),
            ("etcd://h:0/jobs", "not a host"),
            ("etcd://[::g]/jobs", "not a host"),
            ("etcd://u:secret@h h/jobs", "not a host"),
            ("etcd://h/jobs/", "ends in a slash"),
            ("etcd://h/a%00b", "control character"),
            ("etcd://h/a%ff", "not UTF-8"),
            ("etcd://u:secret@h/jobs?colour=red", "`colour` is none of"),
            ("etcd://h/jobs?cert=c", "private key"),
            ("etcd://me@h/jobs", "no password"),
        ] {
            let error = parse(url).unwrap_err();

            assert_eq!(error.kind(), ErrorKind::Usage, "{url}");
            assert!(error.to_string().contains(why), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
