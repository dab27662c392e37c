//! Many at once: handshakes that are not finished, sessions that say a byte now and then (T-09).

use crate::table::{Seen, Table};
use crate::victim::Victim;
use farhaul_hostile::KitError;
use farhaul_hostile::peer::{client, endpoint};
use farhaul_hostile::site::Site;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const HALF_OPEN: u8 = 200;
const TRICKLING: usize = 50;
/// Sessions that one site may have (engine/README.md, bounds of memory).
const PER_SITE: usize = 16;

pub(crate) async fn attack(victim: &Victim, table: &mut Table) {
    let expected = "16 sessions at most, an honest transfer arrives";
    let seen = crowd(victim).await;
    table.take(
        "T-09",
        "200 half-open handshakes and 50 trickling sessions of a site",
        expected,
        seen,
    );
}

async fn crowd(victim: &Victim) -> Result<Seen, KitError> {
    let half_open = half_open(victim).await?;
    let site = victim.site();
    let mut peers = Vec::new();
    for _ in 0..TRICKLING {
        // Whoever has its share of handshakes is told to come again; that is an answer too.
        if let Ok(mut peer) = victim.peer_of(&site).await {
            peer.tell(&[0]).await;
            peers.push(peer);
        }
    }
    let honest = victim.honest_transfer();
    for peer in &mut peers {
        peer.tell(&[0]).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let alive = peers.iter().filter(|peer| peer.connection.close_reason().is_none()).count();
    let honest = honest.map_or_else(|error| error, |()| "an honest transfer arrived".to_owned());
    let what = format!("{} half-open, {alive} of 50 sessions live; {honest}", half_open.len());
    let is_good = alive <= PER_SITE && honest.ends_with("arrived");
    Ok(Seen::new(what, is_good))
}

/// First packets from many networks, whose senders never say another word.
async fn half_open(victim: &Victim) -> Result<Vec<UdpSocket>, KitError> {
    let sink = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (addr, config, endpoint) = (sink.local_addr()?, client(&Site::new()?)?, endpoint()?);
    let (mut sockets, mut buffer) = (Vec::new(), [0; 2048]);
    for n in 0..HALF_OPEN {
        let attempt = endpoint.connect_with(config.clone(), addr, "x");
        let attempt = attempt.map_err(|error| KitError::NoSession(error.to_string()))?;
        let (len, _) = sink.recv_from(&mut buffer).await?;
        drop(attempt);
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::new(127, 200, n, 1), 0)))?;
        socket.send_to(&buffer[..len], victim.addr)?;
        sockets.push(socket);
    }
    Ok(sockets)
}
