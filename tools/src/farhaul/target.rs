//! `ID@HOST[:PORT]:[PATH]`: who, where, and what below its root.

use farhaul_engine::identity::SiteId;
use std::ffi::OsStr;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;

/// The port of Farhaul.
pub(super) const PORT_DEFAULT: u16 = 7411;
/// Addresses of one name that are tried at most.
const ADDRESSES_MAX: usize = 8;

/// A place at a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who must be there.
    pub id: SiteId,
    /// Host name or address.
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// Path below the peer's root; empty for the root itself.
    pub path: Vec<u8>,
}

/// Why a target cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No `@`.
    #[error(
        "no `@` in it; write ID@HOST[:PORT]:[PATH], with the id that `farhaul id` prints there"
    )]
    NoId,
    /// The id is wrong.
    #[error("the part before `@` is no site id: {0}")]
    BadId(String),
    /// No `:` after the host.
    #[error("no `:` after the host; write ID@HOST: for the peer's root")]
    NoPath,
    /// A path where none is wanted.
    #[error("only a site is wanted here, without a path: ID@HOST[:PORT]")]
    Path,
    /// The host is missing.
    #[error("no host between `@` and `:`")]
    NoHost,
    /// The host is no text.
    #[error("the host between `@` and `:` is no text (UTF-8)")]
    BadHost,
    /// What stands for a port is none.
    #[error(
        "`{0}` is no port (1 to 65535); if it begins the path, name the port before it: \
         ID@HOST:7411:{0}..."
    )]
    BadPort(String),
    /// A path that looks like a port whose colon was forgotten.
    #[error(
        "`{0}` may be a port or a path: write ID@HOST:{0}: for the port and the peer's root, \
         ID@HOST:7411:{0} for the path"
    )]
    PortOrPath(String),
    /// An IPv6 address without brackets.
    #[error("IPv6 addresses stand in brackets: ID@[ADDRESS]:PATH")]
    NoBrackets,
    /// An IPv6 address without its closing bracket.
    #[error("`[` without `]` around the IPv6 address")]
    OpenBracket,
}

impl Target {
    /// Reads a target as typed; its path may be any bytes.
    ///
    /// # Errors
    /// [`TargetError`] names the part that is missing or wrong.
    pub fn parse(text: &OsStr) -> Result<Self, TargetError> {
        let (id, rest) = cut(text.as_bytes(), b'@').ok_or(TargetError::NoId)?;
        let id = std::str::from_utf8(id).map_err(|error| TargetError::BadId(error.to_string()))?;
        let id = id.parse().map_err(|error| TargetError::BadId(format!("{error}")))?;
        let (host, rest) = split_host(rest)?;
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        let host = std::str::from_utf8(host).map_err(|_| TargetError::BadHost)?.to_owned();
        let (port, path) = split_port(rest)?;
        Ok(Self { id, host, port, path: path.to_vec() })
    }

    /// The addresses of the host, the best first; may ask the resolver.
    ///
    /// # Errors
    /// The resolver's.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        Ok(addresses)
    }
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|&byte| byte == at)?;
    Some((&text[..position], &text[position + 1..]))
}

/// Splits `[port:]path`. What may be a mistyped port is refused: as a path it would lead to
/// another place at another port.
fn split_port(text: &[u8]) -> Result<(u16, &[u8]), TargetError> {
    let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let Some((port, path)) = cut(text, b':') else {
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let refused = Err(TargetError::PortOrPath(shown(text)));
        return if digits { refused } else { Ok((PORT_DEFAULT, text)) };
    };
    match port_of(port) {
        Some(port) => Ok((port, path)),
        None if looks_like_port(port) => Err(TargetError::BadPort(shown(port))),
        None => Ok((PORT_DEFAULT, text)),
    }
}

/// True for a number with perhaps a letter slipped in.
fn looks_like_port(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit) && text.iter().all(u8::is_ascii_alphanumeric)
}

/// True for text that begins with an IPv6 address.
fn is_bare_ipv6(text: &[u8]) -> bool {
    let ends = text.iter().enumerate().filter(|&(_, &byte)| byte == b':').map(|(at, _)| at);
    ends.chain([text.len()])
        .filter_map(|end| std::str::from_utf8(&text[..end]).ok())
        .any(|prefix| prefix.parse::<Ipv6Addr>().is_ok())
}

fn port_of(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|&port| port > 0)
}

/// Splits `host:rest`, with the host in brackets where it holds colons.
fn split_host(text: &[u8]) -> Result<(&[u8], &[u8]), TargetError> {
    if let Some(text) = text.strip_prefix(b"[") {
        let (host, rest) = cut(text, b']').ok_or(TargetError::OpenBracket)?;
        return Ok((host, rest.strip_prefix(b":").ok_or(TargetError::NoPath)?));
    }
    if is_bare_ipv6(text) {
        return Err(TargetError::NoBrackets);
    }
    cut(text, b':').ok_or(TargetError::NoPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> String {
        SiteId::of_public_key(b"some key").to_string()
    }

    fn parse(rest: &str) -> Result<Target, TargetError> {
        Target::parse(OsStr::new(&format!("{}@{rest}", id())))
    }

    #[test]
    fn the_port_may_be_left_out() {
        let target = parse("example.org:images/a").unwrap();
        assert_eq!((target.port, target.path.as_slice()), (7411, &b"images/a"[..]));
        let target = parse("example.org:9000:images/a:b").unwrap();
        assert_eq!((target.port, target.path.as_slice()), (9000, &b"images/a:b"[..]));
        let target = parse("10.0.0.1:").unwrap();
        assert_eq!((target.host.as_str(), target.path.len()), ("10.0.0.1", 0));
    }

    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        let target = parse("[2001:db8::1]:7000:x").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("2001:db8::1", 7000));
        assert_eq!(parse("[2001:db8::1"), Err(TargetError::OpenBracket));
    }

    #[test]
    fn what_may_be_a_mistyped_port_is_no_path() {
        for typed in ["h:99999:inbox", "h:0:inbox", "h:17411x:inbox", "[::1]:99999:inbox"] {
            assert!(matches!(parse(typed), Err(TargetError::BadPort(_))), "{typed}");
        }
        assert_eq!(parse("h:17411"), Err(TargetError::PortOrPath("17411".to_owned())));
        let hint = parse("h:17411").unwrap_err().to_string();
        assert!(hint.contains("ID@HOST:7411:17411"), "{hint}");
        // Names that no port looks like, and names behind a port.
        for typed in ["h:2024-01-01T12:30.img", "h:run/7:b", "h:a7:b", "h:17411/"] {
            assert_eq!(parse(typed).unwrap().port, 7411, "{typed}");
        }
        let target = parse("h:7411:17411").unwrap();
        assert_eq!((target.port, target.path.as_slice()), (7411, &b"17411"[..]));
        assert_eq!(parse("h:17411:").unwrap().port, 17411);
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_no_host_with_a_path() {
        for typed in ["2001:db8::1:inbox", "2001:db8::1:7411:inbox", "::1:x", "fe80::1", "::1"] {
            assert_eq!(parse(typed), Err(TargetError::NoBrackets), "{typed}");
        }
        assert_eq!(parse("cafe:7411:a:b").unwrap().path, b"a:b");
    }

    #[test]
    fn each_missing_part_is_named() {
        assert_eq!(Target::parse(OsStr::new("example.org:x")), Err(TargetError::NoId));
        assert_eq!(parse("example.org"), Err(TargetError::NoPath));
        assert_eq!(parse(":x"), Err(TargetError::NoHost));
        assert!(matches!(Target::parse(OsStr::new("abc@h:x")), Err(TargetError::BadId(_))));
    }
    #[test]
    fn a_path_may_be_any_bytes_and_a_host_may_not() {
        let mut typed = format!("{}@h:", id()).into_bytes();
        typed.extend_from_slice(b"caf\xe9/\xff");
        let target = Target::parse(OsStr::from_bytes(&typed)).unwrap();
        assert_eq!(target.path, b"caf\xe9/\xff");
        let mut typed = format!("{}@", id()).into_bytes();
        typed.extend_from_slice(b"h\xff:x");
        assert_eq!(Target::parse(OsStr::from_bytes(&typed)), Err(TargetError::BadHost));
    }

    #[test]
    fn a_name_gives_each_of_its_addresses_once() {
        let addresses = parse("127.0.0.1:x").unwrap().resolve().unwrap();
        assert_eq!(addresses, ["127.0.0.1:7411".parse().unwrap()]);
    }
}
