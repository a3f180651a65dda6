//! Access to the page: where the server may listen, and which requests are answered. A page of
//! another site must not read this one through a browser that can reach it, neither under its own
//! name nor under a name of its own that resolves to this server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use subtle::ConstantTimeEq;

use crate::error::Error;

/// The minimum length of a token in characters, so that it cannot be guessed.
const TOKEN: usize = 16;

/// Decides which requests are answered.
#[derive(Clone, Debug)]
pub(super) struct Door {
    address: SocketAddr,
    token: Option<String>,
    hosts: Vec<String>,
}

/// Why a request is refused: the status and the text of the answer.
pub(super) type Refusal = (StatusCode, String);

/// Parses the address to listen on, and checks that listening there is allowed.
pub(super) fn address(listen: &str, token: Option<&str>) -> Result<SocketAddr, Error> {
    let wrong = |why: String| Err(Error::Usage(format!("listen on `{listen}`: {why}")));
    let address = match listen.strip_prefix("localhost:").map(str::parse) {
        Some(Ok(port)) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        _ => match listen.parse::<SocketAddr>() {
            Ok(address) => address,
            Err(_) => {
                return wrong(
                    "this is no ADDRESS:PORT; write it like 127.0.0.1:7654, localhost:7654 or [::1]:7654"
                        .into(),
                );
            }
        },
    };
    let Some(token) = token else {
        return if address.ip().to_canonical().is_loopback() {
            Ok(address)
        } else {
            wrong("other machines can reach this address; it wants --token TOKEN, or listen on 127.0.0.1".into())
        };
    };
    let may_be = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if token.len() < TOKEN || !token.chars().all(may_be) {
        return wrong(format!(
            "a token (--token, or the variable LOCKBYDIR_SERVE_TOKEN) has at least {TOKEN} letters, digits and -._~"
        ));
    }
    Ok(address)
}

impl Door {
    pub(super) fn new(address: SocketAddr, token: Option<String>, hosts: &[String]) -> Door {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Door { address, token, hosts }
    }

    /// Checks that this request may be answered, whoever sent it.
    pub(super) fn admits(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = |why: String| Err((StatusCode::FORBIDDEN, why));
        if method != Method::GET && method != Method::HEAD {
            let why = "This page is read-only: it answers GET and HEAD only.".into();
            return Err((StatusCode::METHOD_NOT_ALLOWED, why));
        }
        let mut given = headers.get_all(HOST).iter();
        let host = given.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = host.to_ascii_lowercase();
        if given.next().is_some() || !self.is_ours(&host) {
            return refused(format!(
                "This page is at {}, and not at the host of this request. If it is reached by another name or port, serve it with --host NAME:PORT.",
                self.address
            ));
        }
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
            let of = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
            if of != Some(&host) {
                return refused("Requests from pages of other sites are refused.".into());
            }
        }
        let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        let is_visit = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
        if site.is_some_and(|site| site != "same-origin" && site != "none") && !is_visit {
            return refused("Requests from pages of other sites are refused.".into());
        }
        Ok(())
    }

    /// Checks that the client knows the token, if there is one.
    pub(super) fn knows(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let cookie = format!("{}=", self.cookie());
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookies = cookies.flat_map(|value| value.split(';')).map(str::trim);
        let mut shown = cookies.filter_map(|pair| pair.strip_prefix(&cookie)).chain(bearer);
        if shown.any(|shown| is_same(shown, token)) {
            return Ok(());
        }
        Err((
            StatusCode::UNAUTHORIZED,
            "This page needs its token: open it once as /?token=TOKEN.".into(),
        ))
    }

    /// Returns the cookie for a browser that gave the token in the address; `None` if that is wrong
    /// or missing.
    pub(super) fn cookie_for(&self, query: &str) -> Option<String> {
        let token = self.token.as_deref()?;
        let mut shown = query.split('&').filter_map(|pair| pair.strip_prefix("token="));
        shown
            .any(|shown| is_same(shown, token))
            .then(|| format!("{}={token}; Path=/; HttpOnly; SameSite=Strict", self.cookie()))
    }

    /// Returns the name of the cookie. It contains the port, since browsers keep the cookies of all
    /// ports of a host together.
    fn cookie(&self) -> String {
        format!("lockbydir-{}", self.address.port())
    }

    /// Returns true if this is a name of this server, with its port.
    fn is_ours(&self, host: &str) -> bool {
        if self.hosts.iter().any(|ours| ours == host) {
            return true;
        }
        let port = format!(":{}", self.address.port());
        let name = match host.strip_suffix(&port) {
            Some(name) => name,
            None if self.address.port() == 80 => host,
            None => return false,
        };
        let ip = self.address.ip().to_canonical();
        let is_local = ip.is_loopback() || ip.is_unspecified();
        if name == "localhost" {
            return is_local;
        }
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let Ok(named) = bare.unwrap_or(name).parse::<IpAddr>() else { return false };
        // Only a name can be made to resolve to this server by another site; a number cannot.
        let named = named.to_canonical();
        named == ip || is_local && named.is_loopback() || ip.is_unspecified()
    }
}

/// Compares in constant time, so that the time does not show where they differ.
fn is_same(shown: &str, token: &str) -> bool {
    shown.as_bytes().ct_eq(token.as_bytes()).into()
}
