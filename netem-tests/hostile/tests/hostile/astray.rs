//! Sessions led astray: packets from an address that is somebody else's (T-06, T-07), resets that
//! are guesses (T-05), and more of QUIC than a session is (T-10).

use crate::table::{Seen, Table, lives};
use crate::victim::{FILE, Victim};
use farhaul_hostile::KitError;
use farhaul_hostile::lane::{Packet, kind};
use farhaul_hostile::peer::Peer;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// How long each behaves first.
const HONEST_FOR: Duration = Duration::from_millis(400);
/// How long the third party is watched.
const WATCHED_FOR: Duration = Duration::from_secs(3);
/// What a third party may get at most (T-07).
const THIRD_MAX: usize = 5 << 10;
/// Headers of IP and UDP.
const HEADERS: usize = 28;
/// Guesses of reset tokens.
const GUESSES: u32 = 50_000;

pub(crate) async fn attack(victim: &Victim, table: &mut Table) {
    let expected = "at most 3 times its bytes and 5 KiB go there, the session goes on";
    let seen = strays(victim, Duration::MAX).await;
    table.take("T-06", "one report of a session from somebody else's address", expected, seen);
    let seen = strays(victim, Duration::from_millis(200)).await;
    table.take("T-07", "reports from there again and again, by the site itself", expected, seen);
    let seen = moves_away(victim).await;
    let expected = "at most 3 times its bytes and 5 KiB go there, no bulk";
    table.take("T-07", "all that a receiver says, from somebody else's address", expected, seen);
    let what = "50,000 guessed resets from the address of a session";
    table.take("T-05", what, "session lives", resets(victim).await);
    let what = "more streams of QUIC, both ways and one way, and datagrams";
    table.take("T-10", what, "none granted, session lives", asks_for_more(victim).await);
}

/// Somebody who never asked for anything, and answers nothing.
struct Third {
    socket: UdpSocket,
    /// Bytes at IP level in its name, and to it.
    sent: usize,
    back: usize,
    largest: usize,
}

impl Third {
    fn new(network: u8) -> Result<Self, KitError> {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 90, network, 1), 0))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, sent: 0, back: 0, largest: 0 })
    }

    /// A true report of `peer`, as if it came from here.
    fn report(&mut self, peer: &mut Peer, victim: &Victim) -> Result<(), KitError> {
        let payload = peer.notes.report().encode();
        let packet = Packet { kind: kind::FEEDBACK, symbol: None, payload: &payload };
        let datagram = peer.mouth.seal(&packet);
        self.sent += self.socket.send_to(&datagram, victim.addr)? + HEADERS;
        Ok(())
    }

    fn count(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.back += len + HEADERS;
            self.largest = self.largest.max(len);
        }
    }

    fn told(&self) -> String {
        let Self { sent, back, largest, .. } = self;
        format!("{back} bytes for {sent}, the longest datagram {largest}")
    }

    fn is_spared(&self) -> bool {
        self.back <= 3 * self.sent && self.back <= THIRD_MAX
    }
}

/// Receives and reports as it should, but now and then from elsewhere.
async fn strays(victim: &Victim, every: Duration) -> Result<Seen, KitError> {
    let (mut peer, mut third) = (victim.peer().await?, Third::new(1)?);
    peer.pull(FILE, HONEST_FOR).await?;
    third.report(&mut peer, victim)?;
    let (begun, before) = (Instant::now(), peer.notes.arrived.len());
    let mut last = begun;
    while begun.elapsed() < WATCHED_FOR {
        peer.behave(Duration::from_millis(20)).await?;
        third.count();
        if last.elapsed() >= every {
            last = Instant::now();
            third.report(&mut peer, victim)?;
        }
    }
    let went_on = peer.notes.arrived.len() - before;
    let alive = lives(&mut peer).await;
    let what = format!("{}; {went_on} packets to the site, {}", third.told(), alive.what);
    Ok(Seen::new(what, third.is_spared() && went_on > 1000 && alive.is_good))
}

/// Says nothing from its own address any more.
async fn moves_away(victim: &Victim) -> Result<Seen, KitError> {
    let (mut peer, mut third) = (victim.peer().await?, Third::new(2)?);
    peer.pull(FILE, HONEST_FOR).await?;
    let begun = Instant::now();
    while begun.elapsed() < WATCHED_FOR {
        peer.listen(Duration::from_millis(200)).await;
        third.report(&mut peer, victim)?;
        third.count();
    }
    Ok(Seen::new(third.told(), third.is_spared() && victim.is_alive()))
}

/// Datagrams that end in sixteen bytes of chance, as a stateless reset does (RFC 9000, 10.3).
async fn resets(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let mut state = 0x1234_5678_9abc_def1_u64;
    for n in 0..GUESSES {
        let mut datagram = [0; 43];
        for byte in &mut datagram {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[4];
        }
        datagram[0] = 0x40 | datagram[0] & 0x3f;
        peer.send(&datagram).await?;
        if n % 200 == 0 {
            peer.behave(Duration::from_millis(1)).await?;
        }
    }
    Ok(lives(&mut peer).await)
}

async fn asks_for_more(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let patience = Duration::from_secs(1);
    let both = tokio::time::timeout(patience, peer.connection.open_bi()).await.is_ok();
    let one = tokio::time::timeout(patience, peer.connection.open_uni()).await.is_ok();
    let datagrams = peer.connection.max_datagram_size().is_some();
    peer.behave(HONEST_FOR).await?;
    let alive = lives(&mut peer).await;
    let granted = usize::from(both) + usize::from(one) + usize::from(datagrams);
    Ok(Seen::new(format!("{granted} granted, {}", alive.what), granted == 0 && alive.is_good))
}
