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
use farhaul_proto::path::carrier::Carrier;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long an address is alone: longer than the round trips that Farhaul is made for (600 ms),
/// so that a second one is not tried in vain.
const STAGGER: Duration = Duration::from_secs(1);

/// How long UDP is alone: an answer takes a round trip, and one of 600 ms is usual.
const HEAD_START: Duration = Duration::from_millis(800);
/// How long TCP, when it is first, waits for UDP: a first packet that was lost with its copies is
/// sent again after a second.
const GRACE: Duration = Duration::from_millis(300);

/// A path of 600 ms: TCP, TLS and the first answer of the peer take a round trip each.
const _: () = assert!(HEAD_START.as_millis() + 3 * 600 + GRACE.as_millis() < 3000);

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

/// Whom to reach, and how the session is set up.
pub(super) struct Goal {
    pub(super) id: SiteId,
    pub(super) addresses: Vec<SocketAddr>,
    /// Where they take TCP, if not at the same port.
    pub(super) tcp_port: Option<u16>,
    pub(super) options: SessionOptions,
}

impl Goal {
    fn tcp_addresses(&self) -> Vec<SocketAddr> {
        let port = |addr: &SocketAddr| self.tcp_port.unwrap_or(addr.port());
        self.addresses.iter().map(|addr| SocketAddr::new(addr.ip(), port(addr))).collect()
    }

    async fn udp(&self, engine: &Arc<Engine>) -> Result<Peer, Option<ControlError>> {
        let (id, options) = (self.id, self.options);
        let attempt = |addr: SocketAddr| {
            let engine = Arc::clone(engine);
            async move { engine.connect(addr, id, options).await }
        };
        first_of(&self.addresses, STAGGER, attempt).await
    }

    async fn tcp(&self, engine: &Arc<Engine>) -> Result<Peer, Option<ControlError>> {
        let (id, options) = (self.id, self.options);
        let attempt = |addr: SocketAddr| {
            let engine = Arc::clone(engine);
            async move { engine.connect_over_tcp(addr, id, options).await }
        };
        first_of(&self.tcp_addresses(), STAGGER, attempt).await
    }
}

/// Opens a session over UDP, at the first address where the site answers.
pub(super) async fn over_udp(engine: &Arc<Engine>, goal: &Goal) -> Result<Peer, Failure> {
    goal.udp(engine).await.map_err(failure)
}

/// Opens a session over TCP, at the first address where the site answers.
pub(super) async fn over_tcp(engine: &Arc<Engine>, goal: &Goal) -> Result<Peer, Failure> {
    goal.tcp(engine).await.map_err(failure)
}

/// Opens a session over UDP, or over TCP where UDP does not answer soon.
pub(super) async fn over_either(
    engine: &Arc<Engine>,
    goal: &Goal,
) -> Result<(Peer, Carrier), Failure> {
    let (head_start, grace) = (tokio::time::sleep(HEAD_START), tokio::time::sleep);
    let won = race(goal.udp(engine), goal.tcp(engine), head_start, || grace(GRACE)).await;
    won.map_err(failure)
}

/// Whether the site answers over UDP; costs a handshake.
pub(super) async fn answers_over_udp(engine: &Arc<Engine>, goal: &Goal) -> bool {
    goal.udp(engine).await.is_ok()
}

fn failure(error: Option<ControlError>) -> Failure {
    match error {
        Some(error) => error.into(),
        None => Failure::new(Kind::Transfer, "the host has no address", "check the host name"),
    }
}

/// What comes first, UDP with a head start and, when TCP is first, with a little grace. An error
/// of UDP by which somebody answered ends the race: TCP would find the same.
async fn race<T, G>(
    udp: impl Future<Output = Result<T, Option<ControlError>>>,
    tcp: impl Future<Output = Result<T, Option<ControlError>>>,
    head_start: impl Future<Output = ()>,
    grace: impl FnOnce() -> G,
) -> Result<(T, Carrier), Option<ControlError>>
where
    G: Future<Output = ()>,
{
    let (mut udp, mut tcp, mut head_start) = (pin!(udp), pin!(tcp), pin!(head_start));
    let (mut udp_error, mut tcp_error) = (None, None);
    let mut started = false;
    loop {
        tokio::select! {
            biased;
            won = &mut udp, if udp_error.is_none() => match won {
                Ok(peer) => return Ok((peer, Carrier::Udp)),
                Err(Some(error)) if telling(&error) > 0 => return Err(Some(error)),
                Err(error) => (udp_error, started) = (Some(error), true),
            },
            won = &mut tcp, if started && tcp_error.is_none() => match won {
                Ok(peer) if udp_error.is_some() => return Ok((peer, Carrier::Tcp)),
                Ok(peer) => {
                    let late = tokio::select! {
                        biased;
                        late = udp => late.ok(),
                        () = grace() => None,
                    };
                    let over_tcp = || (peer, Carrier::Tcp);
                    return Ok(late.map_or_else(over_tcp, |peer| (peer, Carrier::Udp)));
                }
                Err(error) => tcp_error = Some(error),
            },
            () = &mut head_start, if !started => started = true,
            else => break,
        }
    }
    // Neither; what says more is told, and of two silences that of UDP.
    let (udp_error, tcp_error) = (udp_error.flatten(), tcp_error.flatten());
    let told = |error: &Option<ControlError>| error.as_ref().map_or(0, telling);
    // That nobody listens on TCP there is usual, and says nothing about the site.
    let refused = matches!(tcp_error, Some(ControlError::Carrier { .. }));
    if told(&tcp_error) > told(&udp_error) && !refused { Err(tcp_error) } else { Err(udp_error) }
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

    /// Comes when it was asked for so often: what is earlier by this comes first.
    async fn at<T>(turn: usize, what: T) -> T {
        for _ in 0..turn {
            tokio::task::yield_now().await;
        }
        what
    }

    const NEVER: usize = usize::MAX;

    type Won = Result<u16, Option<ControlError>>;

    /// A race in which TCP starts at turn 10, and has 5 turns of grace.
    fn raced(udp: (usize, Won), tcp: (usize, Won)) -> Result<(u16, Carrier), Option<ControlError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(race(at(udp.0, udp.1), at(tcp.0, tcp.1), at(10, ()), || at(5, ())))
    }

    fn silent() -> Option<ControlError> {
        Some(ControlError::Timeout { addr: addr(DEAD) })
    }

    fn refused() -> Option<ControlError> {
        Some(ControlError::Refused { addr: addr(WRONG) })
    }

    #[test]
    fn udp_wins_where_it_answers_and_a_photo_finish_too() {
        for (udp, tcp) in [(3, 0), (12, NEVER), (14, 1), (23, 10)] {
            let won = raced((udp, Ok(1)), (tcp, Ok(2)));
            assert_eq!(won.ok(), Some((1, Carrier::Udp)), "{udp} {tcp}");
        }
    }

    #[test]
    fn where_udp_is_dead_tcp_is_chosen() {
        assert_eq!(raced((NEVER, Ok(1)), (30, Ok(2))).ok(), Some((2, Carrier::Tcp)));
        assert_eq!(raced((5, Err(silent())), (2, Ok(2))).ok(), Some((2, Carrier::Tcp)));
    }

    #[test]
    fn whoever_answers_over_udp_and_refuses_is_not_asked_over_tcp() {
        let told = raced((3, Err(refused())), (0, Ok(2)));
        assert!(matches!(told, Err(Some(ControlError::Refused { .. }))), "{told:?}");
    }

    #[test]
    fn where_neither_answers_the_error_that_says_more_is_told() {
        // Nobody is sent to look for a TCP port of a site that is not there.
        let closed = ControlError::Carrier { addr: addr(DEAD), why: "refused".to_owned() };
        let told = raced((20, Err(silent())), (1, Err(Some(closed))));
        assert!(matches!(told, Err(Some(ControlError::Timeout { .. }))), "{told:?}");
        let told = raced((20, Err(silent())), (1, Err(refused())));
        assert!(matches!(told, Err(Some(ControlError::Refused { .. }))), "{told:?}");
    }

    #[test]
    fn of_several_errors_the_one_that_says_most_is_told() {
        let told = first(&[WRONG, WRONG]).expect_err("nobody answers");
        assert!(matches!(told, Some(ControlError::WrongIdentity { .. })), "{told:?}");
        assert!(first(&[]).expect_err("no address").is_none());
    }
}
