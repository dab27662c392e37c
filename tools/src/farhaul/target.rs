//! `ID@HOST[:PORT]:[PATH]`: who, where, and what below its root.

use farhaul_engine::identity::SiteId;
use std::ffi::OsStr;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

/// The port of Farhaul.
pub(super) const PORT_DEFAULT: u16 = 7411;

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
    /// An IPv6 address without its closing bracket.
    #[error("`[` without `]` around the IPv6 address")]
    OpenBracket,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (id, rest) = text.split_once('@').ok_or(TargetError::NoId)?;
        let id = id.parse().map_err(|error| TargetError::BadId(format!("{error}")))?;
        let (host, rest) = split_host(rest)?;
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        let (port, path) = match rest.split_once(':') {
            Some((port, path)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
                (port.parse().unwrap_or(PORT_DEFAULT), path)
            }
            _ => (PORT_DEFAULT, rest),
        };
        Ok(Self { id, host: host.to_owned(), port, path: OsStr::new(path).as_bytes().to_vec() })
    }
}

/// Splits `host:rest`, with the host in brackets where it holds colons.
fn split_host(text: &str) -> Result<(&str, &str), TargetError> {
    if let Some(text) = text.strip_prefix('[') {
        let (host, rest) = text.split_once(']').ok_or(TargetError::OpenBracket)?;
        return Ok((host, rest.strip_prefix(':').ok_or(TargetError::NoPath)?));
    }
    text.split_once(':').ok_or(TargetError::NoPath)
}

impl Target {
    /// The address of the host; may ask the resolver.
    ///
    /// # Errors
    /// The resolver's.
    pub fn resolve(&self) -> std::io::Result<SocketAddr> {
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        addresses.next().ok_or_else(|| std::io::Error::other("the name has no address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> String {
        SiteId::of_public_key(b"some key").to_string()
    }

    fn parse(rest: &str) -> Result<Target, TargetError> {
        format!("{}@{rest}", id()).parse()
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
        assert_eq!("example.org:x".parse::<Target>(), Err(TargetError::NoId));
        assert_eq!(parse("example.org"), Err(TargetError::NoPath));
        assert_eq!(parse(":x"), Err(TargetError::NoHost));
        assert!(matches!("abc@h:x".parse::<Target>(), Err(TargetError::BadId(_))));
    }
}
