//! From a target to a session: which local address, and which of the peer's.
//!
//! A name may have several addresses, of which some lead nowhere. They are tried in the order of
//! the resolver, the next one soon after the one before, and whichever answers first is taken (as
//! RFC 8305 has it). Who answers must prove the same key at each of them.

use super::failure::{Failure, Kind};
use super::target::{PORT_DEFAULT, Target};
use farhaul_engine::control::ControlError;
use farhaul_engine::engine::{Engine, EngineConfig, EngineError, Peer, SessionOptions};
use farhaul_engine::identity::SiteId;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long an address is alone: longer than the round trips that Farhaul is made for (600 ms),
/// so that a second one is not tried in vain.
const STAGGER: Duration = Duration::from_secs(1);

/// Every address of this host, by IPv6 and IPv4.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
const ANY_IPV4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The addresses of a target.
pub(super) fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Failure> {
    target.resolve().map_err(|error| {
        let what = format!("{}: {error}", target.host);
        Failure::new(Kind::Transfer, what, "check the host name, or give an address")
    })
}

/// Starts an engine that can reach `addresses`.
pub(super) fn engine_towards(
    addresses: &[SocketAddr],
    config: impl Fn(SocketAddr) -> EngineConfig,
) -> Result<Engine, EngineError> {
    if addresses.iter().all(SocketAddr::is_ipv4) {
        return Engine::start(config(ANY_IPV4));
    }
    start_anywhere(0, config)
}

/// Starts an engine for the peers that find the default port.
pub(super) fn engine_at_default_port(
    config: impl Fn(SocketAddr) -> EngineConfig,
) -> Result<Engine, EngineError> {
    start_anywhere(PORT_DEFAULT, config)
}

/// IPv6 and IPv4 through one socket; IPv4 alone where the host has no IPv6.
fn start_anywhere(
    port: u16,
    config: impl Fn(SocketAddr) -> EngineConfig,
) -> Result<Engine, EngineError> {
    let at = |any: SocketAddr| config(SocketAddr::new(any.ip(), port));
    match Engine::start(at(ANY)) {
        Err(EngineError::Bind { source, .. }) if lacks_ipv6(&source) => Engine::start(at(ANY_IPV4)),
        other => other,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Opens a session with the site `id` at the first of `addresses` where it answers.
pub(super) async fn connect(
    engine: &Arc<Engine>,
    addresses: &[SocketAddr],
    id: SiteId,
    options: SessionOptions,
) -> Result<Peer, Failure> {
    let attempt = |addr: SocketAddr| {
        let engine = Arc::clone(engine);
        async move { engine.connect(addr, id, options).await }
    };
    let connected = first_of(addresses, STAGGER, attempt).await;
    connected.map_err(|error| match error {
        Some(error) => error.into(),
        None => Failure::new(Kind::Transfer, "the host has no address", "check the host name"),
    })
}

/// The first success of `attempt`; else the error that says most, `None` without addresses.
async fn first_of<T: Send + 'static, F>(
    addresses: &[SocketAddr],
    stagger: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Option<ControlError>>
where
    F: Future<Output = Result<T, ControlError>> + Send + 'static,
{
    let mut waiting = addresses.iter();
    let mut attempts = JoinSet::new();
    let mut worst: Option<ControlError> = None;
    loop {
        let more = match waiting.next() {
            Some(&addr) => {
                attempts.spawn(attempt(addr));
                true
            }
            None => false,
        };
        let ended = if more && waiting.len() > 0 {
            tokio::time::timeout(stagger, attempts.join_next()).await
        } else {
            Ok(attempts.join_next().await)
        };
        match ended {
            Err(_elapsed) => {}
            Ok(Some(Ok(Ok(peer)))) => {
                // The others let go of the engine before anybody waits for its end.
                attempts.shutdown().await;
                return Ok(peer);
            }
            Ok(Some(Ok(Err(error)))) => {
                if worst.as_ref().is_none_or(|known| telling(&error) > telling(known)) {
                    worst = Some(error);
                }
            }
            Ok(Some(Err(_panicked))) => {}
            Ok(None) => return Err(worst),
        }
    }
}

/// How much an error says: somebody who answered says more than silence.
fn telling(error: &ControlError) -> u8 {
    match error {
        ControlError::Refused { .. } => 3,
        ControlError::WrongIdentity { .. } => 2,
        ControlError::Unreachable { .. } | ControlError::Timeout { .. } => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: u16 = 1;
    const WRONG: u16 = 2;
    const ALIVE: u16 = 3;

    fn addr(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    async fn answer(addr: SocketAddr) -> Result<u16, ControlError> {
        match addr.port() {
            DEAD => std::future::pending().await,
            WRONG => {
                let (expected, found) = (SiteId([1; 32]), SiteId([2; 32]));
                Err(ControlError::WrongIdentity { expected, found })
            }
            port => Ok(port),
        }
    }

    fn first(ports: &[u16]) -> Result<u16, Option<ControlError>> {
        let addresses: Vec<SocketAddr> = ports.iter().copied().map(addr).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let stagger = Duration::from_millis(1);
        runtime.block_on(async move { first_of(&addresses, stagger, answer).await })
    }

    #[test]
    fn an_address_that_does_not_answer_does_not_hold_up_the_next() {
        assert_eq!(first(&[DEAD, ALIVE]).ok(), Some(ALIVE));
        assert_eq!(first(&[WRONG, DEAD, ALIVE]).ok(), Some(ALIVE));
    }

    #[test]
    fn of_several_errors_the_one_that_says_most_is_told() {
        let told = first(&[WRONG, WRONG]).expect_err("nobody answers");
        assert!(matches!(told, Some(ControlError::WrongIdentity { .. })), "{told:?}");
        assert!(first(&[]).expect_err("no address").is_none());
    }
}
