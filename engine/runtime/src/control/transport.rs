//! The settings of QUIC: limits on what a peer can make us keep, timers, and a fixed window.
//!
//! Sources of the numbers: the memory bound per peer (one stream, 4 MiB of receive window),
//! RFC 9000 section 14 (1,200 bytes fit every path), RFC 9002 section 6.2.2 (333 ms).

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, NoneTokenLog,
    NoneTokenStore, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt,
};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::IDLE_LIMIT;
use super::admission::HALF_OPEN_MAX;
use crate::identity::Identity;

/// A session is one stream; what comes on others would be kept and read by nobody.
const BIDI_STREAMS_MAX: u32 = 1;
const UNI_STREAMS_MAX: u32 = 0;
const CONNECTION_WINDOW: u32 = 4 << 20;
const STREAM_WINDOW: u32 = 2 << 20;
const SEND_WINDOW: u64 = 4 << 20;
/// Bytes in flight, whatever is lost: 10 Mbit/s at 200 ms.
const CONGESTION_WINDOW: u64 = 256 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const INITIAL_RTT: Duration = Duration::from_millis(333);
const RETRY_TOKEN_LIFETIME: Duration = Duration::from_secs(15);
/// Datagrams buffered for one handshake that was not decided on yet, and for all.
const INCOMING_BUFFER: u64 = 1 << 20;
const INCOMING_BUFFER_TOTAL: u64 = 16 << 20;
const DATAGRAM_PAYLOAD: u16 = 1200;
const CONNECTION_ID_LEN: usize = 8;

/// Settings of an endpoint. The fixed bit stays set, so that the first byte tells QUIC from lanes.
///
/// A site that accepts at `port` takes the key of its stateless resets from its own key, and its ids
/// say nothing about the process that gave them: after a restart it can tell its former peers that
/// their connections are gone. Every other process of the site has a key of its own. Were it the
/// same, an observer could have the one answer for ids of the other, and end its connections
/// (RFC 9000 section 21.11).
pub(super) fn endpoint_config(identity: &Identity, port: Option<u16>) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    if let Some(port) = port {
        let secret = identity.derive(&[&b"farhaul reset "[..], &port.to_be_bytes()].concat());
        config.reset_key(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret[..])));
    }
    config.cid_generator(|| Box::new(RandomIds(SystemRandom::new()))).grease_quic_bit(false);
    config
}

/// Connection ids without structure. Those that the library makes by default carry a mark of the
/// process, and packets of another process's connections are then dropped in silence.
struct RandomIds(SystemRandom);

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_LEN];
        // Without random numbers no handshake succeeds either; a repeated id fails that one.
        let _ = self.0.fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Settings to connect. No tokens are kept: each connection validates its address anew.
pub(super) fn client_config(
    tls: rustls::ClientConfig,
) -> Result<ClientConfig, quinn::crypto::rustls::NoInitialCipherSuite> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport())).token_store(Arc::new(NoneTokenStore));
    Ok(config)
}

/// Settings to accept. A connection follows its client to another address, which QUIC validates by
/// itself; the lanes do so as well and wait for nobody.
pub(super) fn server_config(
    tls: rustls::ServerConfig,
) -> Result<ServerConfig, quinn::crypto::rustls::NoInitialCipherSuite> {
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0).log(Arc::new(NoneTokenLog));
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .transport_config(Arc::new(transport()))
        .validation_token_config(tokens)
        .retry_token_lifetime(RETRY_TOKEN_LIFETIME)
        .migration(true)
        .max_incoming(HALF_OPEN_MAX)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
    Ok(config)
}

fn transport() -> TransportConfig {
    let idle = IdleTimeout::try_from(IDLE_LIMIT).expect("180 s are below 2^62 ms");
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(DATAGRAM_PAYLOAD)
        .mtu_discovery_config(None)
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(false)
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(FixedWindow));
    config
}

/// A congestion controller that does not control: control messages are few. What they send is
/// not part of the lanes' budget; the window bounds it.
#[derive(Clone, Copy, Debug)]
struct FixedWindow;

impl ControllerFactory for FixedWindow {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Self)
    }
}

impl Controller for FixedWindow {
    fn on_congestion_event(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _is_persistent_congestion: bool,
        _lost_bytes: u64,
    ) {
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        CONGESTION_WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        CONGESTION_WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_leaves_the_window_as_it_is() {
        let now = Instant::now();
        let mut controller = Arc::new(FixedWindow).build(now, DATAGRAM_PAYLOAD);
        let before = controller.window();
        controller.on_congestion_event(now, now, true, 1 << 30);
        assert_eq!(controller.window(), before);
        assert_eq!(controller.initial_window(), before);
    }
}
