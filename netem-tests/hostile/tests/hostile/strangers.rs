//! People without a key: datagrams that are nothing, first packets by the thousand, and packets of
//! others, recorded or changed (T-01 to T-04).

use crate::table::{Seen, Table, lives};
use crate::victim::Victim;
use farhaul_hostile::lane::{Packet, kind};
use farhaul_hostile::peer::{client, endpoint};
use farhaul_hostile::speech;
use farhaul_hostile::{KitError, site::Site};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

/// Datagrams of nonsense.
const GARBAGE: u32 = 200_000;
/// First packets, each of another attempt, and how often each is sent.
const INITIALS: usize = 600;
const COPIES: usize = 10;

pub(crate) async fn attack(victim: &Victim, table: &mut Table) {
    let seen = garbage(victim, Look::Lane);
    let what = "200,000 datagrams: empty, short, random, with the look of a lane";
    table.take("T-02", what, "0 bytes back, an honest transfer arrives", seen);
    let seen = garbage(victim, Look::Quic);
    let what = "200,000 datagrams: empty, short, random, with the look of QUIC";
    table.take("T-05", what, "less than a hundredth back, an honest transfer arrives", seen);
    let seen = initials(victim).await;
    table.take(
        "T-01",
        "6000 first packets of 600 attempts from 600 networks",
        "each gets at most 3 times what it sent",
        seen,
    );
    table.take(
        "T-03",
        "own packets, each three times more, in disorder",
        "each counts once",
        replays(victim).await,
    );
    table.take(
        "T-04",
        "own packets changed: kind, epoch, number, salt, tag",
        "nothing accepted, session lives",
        changes(victim).await,
    );
}

/// What nonsense pretends to be, by its first byte (W-003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Lane,
    Quic,
}

/// A cheap stream of numbers.
fn noise(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn garbage(victim: &Victim, look: Look) -> Result<Seen, KitError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let to = victim.addr;
    let flood = move || {
        let (mut state, mut buffer) = (0x9e37_79b9_7f4a_7c15, [0; 1500]);
        let (mut sent, mut back) = (0, 0);
        for n in 0..GARBAGE {
            let len = match n % 4 {
                0 => 0,
                1 => usize::try_from(noise(&mut state) % 40).unwrap_or(0),
                _ => usize::try_from(noise(&mut state) % 1473).unwrap_or(0),
            };
            buffer[..len].fill_with(|| noise(&mut state).to_le_bytes()[3]);
            buffer[0] = match look {
                Look::Lane if n % 3 == 0 => buffer[0] & 0x3f,
                Look::Lane => 0x10 | buffer[0] & 7,
                Look::Quic => 0x40 | buffer[0],
            };
            sent += socket.send_to(&buffer[..len], to).unwrap_or(0);
            back += answers(&socket);
        }
        thread::sleep(Duration::from_millis(500));
        (sent, back + answers(&socket))
    };
    let flood = thread::spawn(flood);
    let honest = victim.honest_transfer();
    let (sent, back) = flood.join().map_err(|_| io::Error::other("the flood broke"))?;
    let honest = honest.map_or_else(|error| error, |()| "it arrived".to_owned());
    let is_quiet = if look == Look::Lane { back == 0 } else { back < sent / 100 };
    let is_good = is_quiet && honest == "it arrived" && victim.is_alive();
    Ok(Seen::new(format!("{back} bytes back, {honest}"), is_good))
}

/// Bytes that came to a socket.
fn answers(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2048];
    let mut sum = 0;
    while let Ok(len) = socket.recv(&mut buffer) {
        sum += len;
    }
    sum
}

/// The first datagrams of so many attempts to connect.
async fn first_packets(count: usize) -> Result<Vec<Vec<u8>>, KitError> {
    let sink = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (addr, config, endpoint) = (sink.local_addr()?, client(&Site::new()?)?, endpoint()?);
    let (mut packets, mut buffer) = (Vec::new(), [0; 2048]);
    for _ in 0..count {
        let attempt = endpoint.connect_with(config.clone(), addr, "x");
        let attempt = attempt.map_err(|error| KitError::NoSession(error.to_string()))?;
        let (len, _) = sink.recv_from(&mut buffer).await?;
        packets.push(buffer[..len].to_vec());
        drop(attempt);
    }
    Ok(packets)
}

async fn initials(victim: &Victim) -> Result<Seen, KitError> {
    let packets = first_packets(INITIALS).await?;
    let mut sources = Vec::new();
    for n in 0..INITIALS {
        let [_, _, high, low] = u32::try_from(n).unwrap_or(0).to_be_bytes();
        let source = SocketAddr::from((Ipv4Addr::new(127, 100 + high, low, 1), 0));
        let socket = UdpSocket::bind(source)?;
        socket.set_nonblocking(true)?;
        sources.push((socket, 0, 0));
    }
    for _ in 0..COPIES {
        for ((socket, sent, back), packet) in sources.iter_mut().zip(&packets) {
            *sent += socket.send_to(packet, victim.addr).unwrap_or(0);
            *back += answers(socket);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let honest = victim.honest_transfer();
    tokio::time::sleep(Duration::from_secs(2)).await;
    sources.iter_mut().for_each(|(socket, _, back)| *back += answers(socket));
    let per_source = |(_, sent, back): &(UdpSocket, usize, usize)| 100 * back / sent.max(&1);
    let worst = sources.iter().map(per_source).max().unwrap_or(0);
    let honest = honest.map_or_else(|error| error, |()| "an honest transfer arrived".to_owned());
    let what = format!("at most {}.{:02} times its bytes, {honest}", worst / 100, worst % 100);
    Ok(Seen::new(what, worst <= 300 && honest.ends_with("arrived")))
}

/// Padding of so many packets, as datagrams.
fn padding(peer: &mut farhaul_hostile::peer::Peer, count: usize) -> Vec<Vec<u8>> {
    let pad = Packet { kind: kind::PAD, symbol: None, payload: &[0; 200] };
    (0..count).map(|_| peer.mouth.seal(&pad)).collect()
}

async fn replays(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.tell(&speech::hello()).await;
    let packets = padding(&mut peer, 2000);
    for (n, packet) in packets.iter().enumerate() {
        peer.send(packet).await?;
        if n % 50 == 0 {
            peer.listen(Duration::from_millis(2)).await;
        }
    }
    let (_, before) = peer.received_with(&packets[packets.len() - 1], 1).await?;
    let mut state = 7;
    for n in 0..3 * packets.len() {
        let index = usize::try_from(noise(&mut state)).unwrap_or(0) % packets.len();
        peer.send(&packets[index]).await?;
        if n % 50 == 0 {
            peer.listen(Duration::from_millis(2)).await;
        }
    }
    let one_more = padding(&mut peer, 1).remove(0);
    let (_, after) = peer.received_with(&one_more, before + 1).await?;
    let alive = lives(&mut peer).await;
    let what =
        format!("{before} received, {} more after 6000 copies; {}", after - before, alive.what);
    // What the kernel had no room for the first time comes with a copy: no packet counts twice.
    let most = packets.len() as u64 + 1;
    Ok(Seen::new(what, before < most && after <= most && alive.is_good))
}

async fn changes(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.tell(&speech::hello()).await;
    let honest = padding(&mut peer, 1);
    peer.received_with(&honest[0], 1).await?;
    let (mut state, template) = (99, padding(&mut peer, 1).remove(0));
    for n in 0..20_000 {
        let mut packet = template.clone();
        let at = [0, 1, 10, 11, 12, 13, 14, packet.len() - 1][n % 8];
        packet[at] ^= noise(&mut state).to_le_bytes()[0] | 1;
        peer.send(&packet).await?;
        if n % 100 == 0 {
            peer.listen(Duration::from_millis(2)).await;
        }
    }
    // The number and the window of the receiver are where they were: the next one is taken.
    let last = padding(&mut peer, 1).remove(0);
    let (largest, count) = peer.received_with(&last, 2).await?;
    let alive = lives(&mut peer).await;
    let what = format!(
        "{count} received of 2 honest ones and 20,000 changed, largest {largest}; {}",
        alive.what
    );
    Ok(Seen::new(what, count == 2 && largest == 2 && alive.is_good))
}
