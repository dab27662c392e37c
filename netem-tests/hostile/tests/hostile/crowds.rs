//! Many at once: handshakes that are not finished, sessions that say a byte now and then (T-09).

use crate::table::{Seen, Table};
use crate::victim::{FILE, RATE, RATE_BPS, Victim};
use farhaul_hostile::KitError;
use farhaul_hostile::peer::{client, endpoint};
use farhaul_hostile::site::Site;
use farhaul_hostile::speech::request_wishing;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const HALF_OPEN: u8 = 200;
const TRICKLING: usize = 50;
/// Sessions that wish for more than they may have, and for how long they are watched.
const GREEDY: usize = 4;
const GREEDY_FOR: Duration = Duration::from_secs(2);
/// Whoever sends nothing within that never does.
const BEGINS_WITHIN: Duration = Duration::from_secs(20);
/// Sessions that one site may have (engine/README.md, bounds of memory).
const PER_SITE: usize = 16;

pub(crate) async fn attack(victim: &Victim, table: &mut Table) {
    let attack = "four sessions of a site wish to be sent eight times the rate at least";
    table.take("W-133", attack, "each no faster than its rate", greedy(victim).await);
    let expected = "16 sessions at most, an honest transfer arrives";
    let seen = crowd(victim).await;
    table.take(
        "T-09",
        "200 half-open handshakes and 50 trickling sessions of a site",
        expected,
        seen,
    );
}

/// spec: W-098, W-133: what is wished beyond the rate is not granted, to any of them; a rate is one of a
/// session.
async fn greedy(victim: &Victim) -> Result<Seen, KitError> {
    let site = victim.site();
    let mut tasks = Vec::new();
    for _ in 0..GREEDY {
        let mut peer = victim.peer_of(&site).await?;
        tasks.push(tokio::spawn(async move {
            let request = request_wishing(FILE, 8 * RATE_BPS, 9 * RATE_BPS);
            peer.ask(&request, Duration::from_millis(400)).await?;
            // However long it takes with its first packet, it is measured for as long from then on.
            let asked = Instant::now();
            let (mut begun, mut bytes) = (None, 0);
            while begun.map_or(asked.elapsed() < BEGINS_WITHIN, |begun: Instant| {
                begun.elapsed() < GREEDY_FOR
            }) {
                let heard = peer.listen(Duration::from_millis(5)).await;
                if begun.is_some() {
                    bytes += heard.iter().map(|heard| heard.bytes).sum::<u64>();
                } else if !heard.is_empty() {
                    begun = Some(Instant::now());
                }
                let report = peer.notes.report();
                peer.report(&report).await?;
            }
            let took = begun.map_or(GREEDY_FOR, |begun| begun.elapsed());
            peer.leave().await;
            Ok::<_, KitError>(bytes as f64 * 8.0 / took.as_secs_f64() / RATE)
        }));
    }
    let mut most: f64 = 0.0;
    for task in tasks {
        let share = task.await.map_err(|error| KitError::NoSession(error.to_string()))??;
        most = most.max(share);
    }
    let what = format!("{most:.2} of the rate of a session at most, in each of {GREEDY}");
    Ok(Seen::new(what, most > 0.0 && most <= 1.25))
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
