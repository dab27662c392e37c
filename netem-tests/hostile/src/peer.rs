//! A session with the victim: QUIC and the lane from one port, as the protocol demands.
//!
//! ```text
//! quinn <-> inner socket <-> [sorting] <-> outer socket <-> victim
//!                               |
//!                             lane
//! ```

use crate::KitError;
use crate::lane::{Ear, Heard, Mouth, Packet, kind};
use crate::report::{self, Notes, Report};
use crate::site::Site;
use crate::speech;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig};
use quinn::{RecvStream, SendStream};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Lane packets read ahead.
const HEARD_MAX: usize = 65_536;
/// How long a victim may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often a packet is sent that has to arrive, and how long its report may take.
const TRIES: u32 = 8;
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// The longest datagram: loopback carries the largest packets that there are (W-075).
const DATAGRAM: usize = 16_384;

/// How a session ended, or that it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It lives.
    Alive,
    /// The victim said `cancel` with this code.
    Cancelled(u8),
    /// The victim closed the connection with this code.
    Closed(u64),
    /// It ended otherwise.
    Other(String),
}

/// Our end.
pub struct Peer {
    /// QUIC.
    pub connection: Connection,
    /// Where control messages go.
    pub say: SendStream,
    hear: RecvStream,
    /// Bytes of the victim that are no whole frame yet.
    partial: Vec<u8>,
    /// Makes lane packets.
    pub mouth: Mouth,
    ear: Ear,
    lane: mpsc::Receiver<Vec<u8>>,
    port: Arc<UdpSocket>,
    victim: SocketAddr,
    /// What came on the lane.
    pub notes: Notes,
    sorting: JoinHandle<()>,
    endpoint: Endpoint,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.connection.close(0u32.into(), b"");
        self.sorting.abort();
    }
}

impl Peer {
    /// Connects as `site`, and opens the control stream without a word.
    ///
    /// # Errors
    /// [`KitError`].
    pub async fn connect(
        site: &Site,
        victim: SocketAddr,
        victim_id: &[u8; 32],
    ) -> Result<Self, KitError> {
        let port = Arc::new(UdpSocket::bind((network(), 0)).await?);
        let inner = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let inner_addr = inner.local_addr()?;
        let (lane_in, lane) = mpsc::channel(HEARD_MAX);
        let sorting = tokio::spawn(sort(Arc::clone(&port), inner, victim, lane_in));
        let endpoint = endpoint()?;
        let connecting = endpoint.connect_with(client(site)?, inner_addr, "x");
        let connecting = connecting.map_err(|error| KitError::NoSession(error.to_string()))?;
        let none = |error: ConnectionError| KitError::NoSession(error.to_string());
        let connection =
            timeout(PATIENCE, connecting).await.map_err(|_| KitError::Silent("handshake"))?;
        let connection = connection.map_err(none)?;
        let (say, hear) = connection.open_bi().await.map_err(none)?;
        let secret = |direction| exported(&connection, &site.id, victim_id, direction);
        let (mouth, ear) = (Mouth::new(&secret(0)?), Ear::new(&secret(1)?));
        let (partial, notes) = (Vec::new(), Notes::default());
        Ok(Self {
            connection,
            say,
            hear,
            partial,
            mouth,
            ear,
            lane,
            port,
            victim,
            notes,
            sorting,
            endpoint,
        })
    }

    /// Says goodbye and is heard, so that the victim gives back what it holds for us.
    pub async fn leave(self) {
        self.connection.close(0u32.into(), b"");
        let _ = timeout(Duration::from_secs(2), self.endpoint.wait_idle()).await;
    }

    /// Says bytes on the control stream; that nobody listens any more is no error.
    pub async fn tell(&mut self, bytes: &[u8]) {
        let _ = self.say.write_all(bytes).await;
    }

    /// The next message of the victim.
    ///
    /// # Errors
    /// [`KitError::Ended`], [`KitError::Silent`].
    pub async fn message(&mut self, within: Duration) -> Result<Vec<u8>, KitError> {
        let read = async {
            loop {
                if let Some((len, rest)) = self.partial.split_first_chunk() {
                    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
                    if rest.len() >= len {
                        let body = rest[..len].to_vec();
                        self.partial.drain(..4 + len);
                        return Ok(body);
                    }
                }
                match self.hear.read_chunk(DATAGRAM, true).await {
                    Ok(Some(chunk)) => self.partial.extend(&chunk.bytes),
                    Ok(None) => return Err(KitError::Ended("its stream is at its end".into())),
                    Err(error) => return Err(KitError::Ended(error.to_string())),
                }
            }
        };
        timeout(within, read).await.unwrap_or(Err(KitError::Silent("message")))
    }

    /// Waits for a message of this type, whatever else comes.
    ///
    /// # Errors
    /// As [`Self::message`].
    pub async fn await_kind(&mut self, wanted: u8) -> Result<Vec<u8>, KitError> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let body = self.message(PATIENCE).await?;
            if body.get(1) == Some(&wanted) {
                return Ok(body);
            }
        }
        Err(KitError::Silent("a certain message"))
    }

    /// Sends a datagram from our port.
    ///
    /// # Errors
    /// [`KitError::Io`].
    pub async fn send(&self, datagram: &[u8]) -> Result<(), KitError> {
        self.port.send_to(datagram, self.victim).await?;
        Ok(())
    }

    /// Seals and sends a packet.
    ///
    /// # Errors
    /// [`KitError::Io`].
    pub async fn lane(&mut self, packet: &Packet<'_>) -> Result<(), KitError> {
        let datagram = self.mouth.seal(packet);
        self.send(&datagram).await
    }

    /// Sends a report.
    ///
    /// # Errors
    /// [`KitError::Io`].
    pub async fn report(&mut self, report: &Report) -> Result<(), KitError> {
        let payload = report.encode();
        self.lane(&Packet { kind: kind::FEEDBACK, symbol: None, payload: &payload }).await
    }

    /// Takes in what comes on the lane for so long; returns it and notes it.
    pub async fn listen(&mut self, span: Duration) -> Vec<Heard> {
        let end = tokio::time::Instant::now() + span;
        let mut heard = Vec::new();
        while let Ok(Some(datagram)) = tokio::time::timeout_at(end, self.lane.recv()).await {
            if let Some(packet) = self.ear.open(&datagram) {
                self.notes.note(&packet);
                heard.push(packet);
            }
        }
        heard
    }

    /// What the victim says within so long that it received: the largest number, and how many.
    pub async fn received(&mut self, span: Duration) -> Option<(u64, u64)> {
        let heard = self.listen(span).await;
        let reports = heard.iter().filter(|packet| packet.kind == kind::FEEDBACK);
        reports.filter_map(|packet| report::read(&packet.payload)).max_by_key(|(_, count)| *count)
    }

    /// The same once `packet` arrived, and with it at least `least`; or what it says after some tries.
    /// However often a packet is sent, it counts once: so it is, for on a busy machine the kernel drops
    /// what it has no room for.
    ///
    /// # Errors
    /// [`KitError`] if the victim says nothing at all.
    pub async fn received_with(
        &mut self,
        packet: &[u8],
        least: u64,
    ) -> Result<(u64, u64), KitError> {
        let mut told = None;
        for _ in 0..TRIES {
            self.send(packet).await?;
            told = self.received(ANSWERS_WITHIN).await.max(told);
            if told.is_some_and(|(_, count)| count >= least) {
                break;
            }
        }
        told.ok_or(KitError::Silent("report"))
    }

    /// Asks for a file and behaves, for so long.
    ///
    /// # Errors
    /// [`KitError`] if the victim does not send.
    pub async fn pull(&mut self, path: &[u8], span: Duration) -> Result<(), KitError> {
        self.ask(&speech::request(path), span).await
    }

    /// Makes this request and behaves, for so long.
    ///
    /// # Errors
    /// [`KitError`] if the victim does not send.
    pub async fn ask(&mut self, request: &[u8], span: Duration) -> Result<(), KitError> {
        self.tell(&speech::hello()).await;
        self.tell(request).await;
        self.await_kind(1).await?;
        self.tell(&speech::accept()).await;
        self.behave(span).await
    }

    /// Receives and reports truly, for so long.
    ///
    /// # Errors
    /// [`KitError::Io`].
    pub async fn behave(&mut self, span: Duration) -> Result<(), KitError> {
        let begun = Instant::now();
        while begun.elapsed() < span {
            self.listen(Duration::from_millis(5)).await;
            let report = self.notes.report();
            self.report(&report).await?;
        }
        Ok(())
    }

    /// What becomes of the session within `span`.
    pub async fn ending(&mut self, span: Duration) -> Ending {
        let begun = Instant::now();
        let mut last_word = None;
        loop {
            let left = span.saturating_sub(begun.elapsed());
            match self.message(left).await {
                Ok(body) => {
                    if let Some((10, Some(code))) = speech::kind_and_code(&body) {
                        last_word = Some(Ending::Cancelled(code));
                        break;
                    }
                }
                Err(KitError::Silent(_)) => return last_word.unwrap_or(Ending::Alive),
                Err(_) => break,
            }
        }
        if let Some(said) = last_word {
            return said;
        }
        let left = span.saturating_sub(begun.elapsed()).max(Duration::from_secs(1));
        match timeout(left, self.connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => {
                Ending::Closed(close.error_code.into_inner())
            }
            Ok(other) => Ending::Other(other.to_string()),
            Err(_) => Ending::Alive,
        }
    }
}

/// An address in a network of its own: what one network may try is bounded.
fn network() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    Ipv4Addr::new(127, 50, NEXT.fetch_add(1, Ordering::Relaxed), 1)
}

/// A QUIC client's endpoint on a port of its own.
///
/// # Errors
/// [`KitError::Io`].
pub fn endpoint() -> Result<Endpoint, KitError> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut config = EndpointConfig::default();
    config.grease_quic_bit(false);
    Ok(Endpoint::new(config, None, socket, Arc::new(quinn::TokioRuntime))?)
}

/// The settings to connect as `site`.
///
/// # Errors
/// [`KitError::NoSession`].
pub fn client(site: &Site) -> Result<ClientConfig, KitError> {
    let tls = site.tls().map_err(|error| KitError::NoSession(error.to_string()))?;
    let quic = QuicClientConfig::try_from(tls);
    let quic = quic.map_err(|error| KitError::NoSession(error.to_string()))?;
    Ok(ClientConfig::new(Arc::new(quic)))
}

/// The bytes of W-025.
fn exported(
    connection: &Connection,
    client: &[u8; 32],
    server: &[u8; 32],
    direction: u8,
) -> Result<[u8; 40], KitError> {
    let context = [&[0, 1][..], client, server, &[0, direction]].concat();
    let mut out = [0; 40];
    let exported = connection.export_keying_material(&mut out, b"EXPORTER-farhaul-lane", &context);
    exported.map_err(|_| KitError::NoSession("nothing to export".into()))?;
    Ok(out)
}

/// Carries datagrams between the victim and those here whom they concern (W-003).
async fn sort(
    outer: Arc<UdpSocket>,
    inner: UdpSocket,
    victim: SocketAddr,
    lane: mpsc::Sender<Vec<u8>>,
) {
    let (mut from_victim, mut from_quic) = ([0; DATAGRAM], [0; DATAGRAM]);
    let mut quic: Option<SocketAddr> = None;
    loop {
        tokio::select! {
            came = outer.recv_from(&mut from_victim) => {
                let Ok((len, from)) = came else { continue };
                let datagram = &from_victim[..len];
                match (datagram.first(), quic) {
                    (Some(0x04..0x40), _) if from == victim => {
                        let _ = lane.try_send(datagram.to_vec());
                    }
                    (Some(0x40..), Some(quic)) => {
                        let _ = inner.send_to(datagram, quic).await;
                    }
                    _ => {}
                }
            }
            goes = inner.recv_from(&mut from_quic) => {
                let Ok((len, from)) = goes else { continue };
                quic = Some(from);
                let _ = outer.send_to(&from_quic[..len], victim).await;
            }
        }
    }
}
