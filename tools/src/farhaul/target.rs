//! `ID@HOST[:PORT]:[PATH]`: who, where, and what below its root.

use farhaul_engine::identity::SiteId;
use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
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
    /// The host is missing.
    #[error("no host between `@` and `:`")]
    NoHost,
    /// The host is no text.
    #[error("the host between `@` and `:` is no text (UTF-8)")]
    BadHost,
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
        let named = cut(rest, b':').and_then(|(port, path)| Some((port_of(port)?, path)));
        let (port, path) = named.unwrap_or((PORT_DEFAULT, rest));
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

fn port_of(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|&port| port > 0)
}

/// Splits `host:rest`, with the host in brackets where it holds colons.
fn split_host(text: &[u8]) -> Result<(&[u8], &[u8]), TargetError> {
    if let Some(text) = text.strip_prefix(b"[") {
        let (host, rest) = cut(text, b']').ok_or(TargetError::OpenBracket)?;
        return Ok((host, rest.strip_prefix(b":").ok_or(TargetError::NoPath)?));
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
