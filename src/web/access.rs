//! Who may look at the page, and who may change something. Pure, but for the file of the token.
//!
//! - Looking needs the token: once in the link that is printed, then in a cookie, or as a bearer
//!   token of a script.
//! - The `Host` of every request is an IP address or `localhost`. A page of another site whose name
//!   resolves to this address (DNS rebinding) states its own name.
//! - A change is a `POST` whose `Origin` is this server. Scripts that send the bearer token need no
//!   `Origin`; a browser never sends that token by itself.

use std::fmt::Write;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};

use crate::files;

/// Name of the token's file in the folder of the page.
const TOKEN_FILE: &str = "token";
/// Bytes of a token: 256 bits.
const TOKEN_BYTES: usize = 32;
/// The parameter of the link.
const PARAMETER: &str = "token=";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is for another host.
    OtherHost,
    /// It has no valid token.
    NoToken,
    /// It comes from a page of another site.
    OtherOrigin,
}

/// The rules for requests.
pub(super) struct Access {
    listen: SocketAddrV4,
    token: String,
}

impl Access {
    /// The rules with the token in `folder`, which is made if it is missing.
    pub(super) fn open(listen: SocketAddrV4, folder: &Path) -> io::Result<Self> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(TOKEN_FILE);
        // Several processes may do this at the same time: one of them makes the token for all.
        loop {
            match fs::read_to_string(&path) {
                Ok(text) if is_token(text.trim()) => {
                    let token = text.trim().to_owned();
                    return Ok(Access { listen, token });
                }
                Ok(_) => files::replace(&path, files::PRIVATE, new_token()?.as_bytes())?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match files::create(&path, files::PRIVATE, new_token()?.as_bytes()) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(error);
                        }
                        _ => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The link with the token.
    pub(super) fn link(&self) -> String {
        format!("http://{}/?{PARAMETER}{}", self.listen, self.token)
    }

    /// The cookie that stands for the token. It is not the token: browsers send a cookie to every
    /// port of a host, and the link must not follow from it.
    pub(super) fn cookie(&self) -> String {
        let (name, value) = self.named_cookie();
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax")
    }

    /// Its name and its value. Two labs whose ports are forwarded to one host have different names.
    fn named_cookie(&self) -> (String, String) {
        let hash = |what: &str| hex(&Sha256::digest(format!("{what} {}", self.token)));
        let name = hash("name of the cookie");
        (format!("halab-web-{}", &name[..8]), hash("cookie"))
    }

    /// Whether the query of a request has the token.
    pub(super) fn is_link(&self, query: Option<&str>) -> bool {
        let parameters = query.unwrap_or_default().split('&');
        let mut given = parameters.filter_map(|p| p.strip_prefix(PARAMETER));
        given.any(|token| self.is_token(token))
    }

    /// Whether the request may look.
    pub(super) fn may_look(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        own_host(headers)?;
        match self.has_cookie(headers) || self.has_bearer(headers) {
            true => Ok(()),
            false => Err(Refusal::NoToken),
        }
    }

    /// Whether the request may change something.
    pub(super) fn may_change(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.may_look(headers)?;
        let host = text(headers, &HOST).unwrap_or_default();
        match text(headers, &ORIGIN) {
            Some(origin) if origin == format!("http://{host}") => Ok(()),
            None if self.has_bearer(headers) => Ok(()),
            _ => Err(Refusal::OtherOrigin),
        }
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let (name, value) = self.named_cookie();
        let lines = headers.get_all(COOKIE).iter();
        let mut cookies = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='));
        cookies.any(|(key, given)| key == name && is_same(given, &value))
    }

    fn has_bearer(&self, headers: &HeaderMap) -> bool {
        let given = text(headers, &AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        given.is_some_and(|token| self.is_token(token))
    }

    fn is_token(&self, given: &str) -> bool {
        is_same(given, &self.token)
    }
}

/// Whether the request names this server by an address or as `localhost`.
pub(super) fn own_host(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (
        hosts.next().and_then(|host| host.to_str().ok()),
        hosts.next(),
    ) {
        (Some(host), None) => host,
        _ => return Err(Refusal::OtherHost),
    };
    let has_port = |port: &str| port.parse::<u16>().is_ok();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if has_port(port) => name,
        _ => host,
    };
    let ipv6 = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let is_address = name.parse::<Ipv4Addr>().is_ok()
        || ipv6.is_some_and(|name| name.parse::<Ipv6Addr>().is_ok());
    match is_address || name == "localhost" {
        true => Ok(()),
        false => Err(Refusal::OtherHost),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn is_token(text: &str) -> bool {
    text.len() == 2 * TOKEN_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// By the digests, so that the time of the comparison says nothing about the secret.
fn is_same(given: &str, secret: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(secret)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A new token, as a line.
fn new_token() -> io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(io::Error::other)?;
    Ok(hex(&bytes) + "\n")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn access() -> (Access, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::open("127.0.0.31:8000".parse().unwrap(), folder.path()).unwrap();
        (access, folder)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_token_is_kept_private_and_a_damaged_one_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let (first, folder) = access();
        let again = Access::open(first.listen, folder.path()).unwrap();
        assert_eq!(first.link(), again.link());
        let path = folder.path().join(TOKEN_FILE);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "short\n").unwrap();
        let other = Access::open(first.listen, folder.path()).unwrap();
        assert_ne!(first.link(), other.link());
        assert_eq!(other.token.len(), 64);
    }

    #[test]
    fn processes_that_start_at_once_have_the_same_token() {
        let folder = tempfile::tempdir().unwrap();
        let listen = "127.0.0.31:8000".parse().unwrap();
        let links = std::thread::scope(|scope| {
            let open = || Access::open(listen, folder.path()).unwrap().link();
            let all: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            all.into_iter()
                .map(|one| one.join().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(links.len(), 1);
    }

    #[test]
    fn looking_needs_the_cookie_or_the_token_as_bearer() {
        let (access, _folder) = access();
        let host = ("host", "127.0.0.31:8000");
        let (name, value) = access.named_cookie();
        let cookie = |name: &str, value: &str| format!("a=b; {name}={value}; c=d");
        let own = cookie(&name, &value);
        let bearer = format!("Bearer {}", access.token);
        for (line, may) in [
            (("cookie", own.as_str()), true),
            (("authorization", bearer.as_str()), true),
            (
                ("cookie", cookie("halab-web-other", &value).as_str()),
                false,
            ),
            (("cookie", cookie(&name, &access.token).as_str()), false),
            (("cookie", cookie(&name, "").as_str()), false),
            (("authorization", "Bearer "), false),
            (("authorization", access.token.as_str()), false),
        ] {
            let found = access.may_look(&headers(&[host, line]));
            let expected = if may { Ok(()) } else { Err(Refusal::NoToken) };
            assert_eq!(found, expected, "{line:?}");
        }
        assert!(access.is_link(Some(&format!("a=1&token={}", access.token))));
        assert!(!access.is_link(Some("token=")));
        assert!(!access.is_link(None));
    }

    #[test]
    fn a_host_is_an_address_or_localhost() {
        for (host, own) in [
            ("127.0.0.31:8000", true),
            ("localhost:18000", true),
            ("localhost", true),
            ("[::1]:8000", true),
            ("192.168.1.7:8000", true),
            ("attacker.example:8000", false),
            ("127.0.0.31.attacker.example", false),
            ("localhost.attacker.example:8000", false),
            ("", false),
        ] {
            let found = own_host(&headers(&[("host", host)]));
            assert_eq!(found.is_ok(), own, "{host}");
        }
        assert!(own_host(&HeaderMap::new()).is_err());
        let twice = headers(&[("host", "localhost"), ("host", "attacker.example")]);
        assert!(own_host(&twice).is_err());
    }

    #[test]
    fn a_change_comes_from_this_page_or_from_a_script_with_the_token() {
        let (access, _folder) = access();
        let host = ("host", "localhost:8000");
        let (name, value) = access.named_cookie();
        let cookie = format!("{name}={value}");
        let bearer = format!("Bearer {}", access.token);
        let cookie = ("cookie", cookie.as_str());
        let bearer = ("authorization", bearer.as_str());
        for (lines, may) in [
            (
                vec![host, cookie, ("origin", "http://localhost:8000")],
                true,
            ),
            (vec![host, bearer], true),
            (
                vec![host, bearer, ("origin", "http://localhost:8000")],
                true,
            ),
            (vec![host, cookie], false),
            (vec![host, cookie, ("origin", "null")], false),
            (
                vec![host, cookie, ("origin", "http://localhost:9000")],
                false,
            ),
            (
                vec![host, cookie, ("origin", "https://localhost:8000")],
                false,
            ),
            (
                vec![host, bearer, ("origin", "http://attacker.example")],
                false,
            ),
        ] {
            let found = access.may_change(&headers(&lines));
            let expected = if may {
                Ok(())
            } else {
                Err(Refusal::OtherOrigin)
            };
            assert_eq!(found, expected, "{lines:?}");
        }
        let without = headers(&[host, ("origin", "http://localhost:8000")]);
        assert_eq!(access.may_change(&without), Err(Refusal::NoToken));
    }
}
