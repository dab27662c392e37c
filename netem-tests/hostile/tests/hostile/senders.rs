//! Senders of symbols that nobody asked for, that do not fit, or that never become a block (T-11).

use crate::table::{Seen, Table, ends, lives};
use crate::victim::Victim;
use farhaul_hostile::KitError;
use farhaul_hostile::lane::{Packet, kind};
use farhaul_hostile::peer::Peer;
use farhaul_hostile::speech;
use std::time::Duration;

const SYMBOL: usize = 1408;
/// Data of a whole block.
const BLOCK: u64 = 1_404_928;

pub(crate) async fn attack(victim: &Victim, table: &mut Table) {
    let unacknowledged = "not acknowledged, session lives";
    let seen = refused(victim, 900, 0, SYMBOL).await;
    table.take("T-11", "symbols of a block that nobody owns", unacknowledged, seen);
    let seen = refused(victim, u32::MAX, 0xff_ffff, SYMBOL).await;
    table.take("T-11", "the last block and the last ESI of all", unacknowledged, seen);
    let seen = refused(victim, 0, 0, 64).await;
    table.take("T-11", "symbols of 64 bytes", unacknowledged, seen);
    let seen = floods(victim).await;
    let what = "3000 forged repair symbols of one block, of any ESI";
    table.take("T-11", what, "tried three times at most, session lives", seen);
    table.take(
        "T-11",
        "forged repair symbols, block after block",
        "object failed, session lives",
        forges(victim).await,
    );
    let seen = bombs(victim).await;
    let what = "packed blocks of 1.4 KB that unpack to 40 MB";
    table.take("T-12", what, "object failed, session lives", seen);
    table.take(
        "T-11",
        "blocks that are begun and never completed",
        "an honest transfer arrives",
        hoards(victim).await,
    );
    table.take(
        "T-03",
        "authentic packet numbers that jump by millions",
        "session lives",
        jumps(victim).await,
    );
    table.take(
        "T-11",
        "reopens blocks that nobody claimed",
        "session ended: protocol",
        reopens(victim).await,
    );
}

/// A push of one file that the victim accepted.
async fn pushing(victim: &Victim, name: &str, size: u64) -> Result<Peer, KitError> {
    let mut peer = victim.peer().await?;
    let manifest = speech::manifest(vec![speech::file(name.as_bytes(), size)]);
    peer.tell(&speech::hello()).await;
    peer.tell(&speech::offer(b"in", manifest, 1, size)).await;
    peer.await_kind(3).await?;
    Ok(peer)
}

/// A piece of padding, a hundred bad symbols, padding again.
async fn refused(victim: &Victim, block: u32, esi: u32, len: usize) -> Result<Seen, KitError> {
    let mut peer = pushing(victim, "refused", 3_000_000).await?;
    let pad = Packet { kind: kind::PAD, symbol: None, payload: &[0; 64] };
    let first = peer.mouth.seal(&pad);
    peer.received_with(&first, 1).await?;
    let payload = vec![7; len];
    for more in 0..100 {
        let symbol = Some((block, esi.saturating_add(more).min(0xff_ffff)));
        peer.lane(&Packet { kind: kind::DATA, symbol, payload: &payload }).await?;
    }
    let last = peer.mouth.seal(&pad);
    let (_, count) = peer.received_with(&last, 2).await?;
    let alive = lives(&mut peer).await;
    let what = format!("{} of 100 acknowledged, {}", count.saturating_sub(2), alive.what);
    Ok(Seen::new(what, count == 2 && alive.is_good))
}

/// Far more repair symbols than a block may have, with ids up to the last that there are.
async fn floods(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = pushing(victim, "floods", 20 * BLOCK).await?;
    let payload = [3; SYMBOL];
    for n in 0..3000 {
        let symbol = Some((0, 0xff_ffff - 5000 * n));
        peer.lane(&Packet { kind: kind::DATA, symbol, payload: &payload }).await?;
        if n % 64 == 0 {
            peer.listen(Duration::from_millis(4)).await;
        }
    }
    let count = peer.received(Duration::from_millis(400)).await.map_or(0, |(_, count)| count);
    let alive = lives(&mut peer).await;
    // Each time so many were tried in vain, the block begins anew, at most three times.
    let is_good = count <= 3 * 1024 && alive.is_good;
    Ok(Seen::new(format!("{count} acknowledged, {}", alive.what), is_good))
}

/// A small object, so that few symbols are enough to make the victim decode.
async fn forges(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = pushing(victim, "forged", 2 << 20).await?;
    let payload = [0x5a; SYMBOL];
    let (mut restarts, mut esi) = (0, 998);
    for _ in 0..12 {
        for _ in 0..1010 {
            let symbol = Some((0, esi));
            esi = if esi >= 998 + 1023 { 998 } else { esi + 1 };
            peer.lane(&Packet { kind: kind::DATA, symbol, payload: &payload }).await?;
            if esi % 64 == 0 {
                peer.listen(Duration::from_millis(4)).await;
            }
        }
        while let Ok(body) = peer.message(Duration::from_millis(700)).await {
            match speech::kind_and_code(&body) {
                Some((8, _)) => restarts += 1,
                Some((7, _)) => {
                    let what = format!("object failed after {restarts} restarts");
                    return Ok(Seen::new(what, restarts <= 3));
                }
                _ => {}
            }
        }
    }
    Ok(Seen::new(format!("{restarts} restarts and no end"), false))
}

/// A frame of Zstandard (RFC 8878) that repeats one byte: a gigabyte by its head, 40 MB by its blocks.
fn bomb() -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    frame.extend((1u64 << 30).to_le_bytes());
    // Blocks of 128 KiB: type 1, one byte to repeat.
    let [low, middle, high, _] = ((128u32 << 10) << 3 | 1 << 1).to_le_bytes();
    (0..330).for_each(|_| frame.extend([low, middle, high, 0x41]));
    frame
}

/// spec: W-117, W-118
async fn bombs(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = pushing(victim, "bomb", 2 << 20).await?;
    let before = victim.resident_mib();
    let frame = bomb();
    let len = u32::try_from(frame.len()).expect("short");
    let mut payload = len.to_be_bytes().to_vec();
    payload.extend(&frame);
    payload.resize(SYMBOL, 0);
    let mut restarts = 0;
    for _ in 0..20 {
        // K is 1, the ESI 0.
        let symbol = Some((0, 1 << 13));
        peer.lane(&Packet { kind: kind::PACKED, symbol, payload: &payload }).await?;
        peer.listen(Duration::from_millis(20)).await;
        while let Ok(body) = peer.message(Duration::from_millis(200)).await {
            match speech::kind_and_code(&body) {
                Some((8, _)) => restarts += 1,
                Some((7, _)) => {
                    let more = victim.resident_mib().saturating_sub(before);
                    let what = format!("object failed after {restarts} restarts, {more} MiB more");
                    return Ok(Seen::new(what, more < 32));
                }
                _ => {}
            }
        }
    }
    Ok(Seen::new(format!("{restarts} restarts and no end"), false))
}

async fn hoards(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = pushing(victim, "hoard", 200 * BLOCK).await?;
    let payload = [1; SYMBOL];
    for round in 0..3 {
        for block in 0..200 {
            let symbol = Some((block, round));
            peer.lane(&Packet { kind: kind::DATA, symbol, payload: &payload }).await?;
        }
        peer.listen(Duration::from_millis(100)).await;
    }
    let honest = victim.honest_transfer();
    let what = honest.as_ref().map_or_else(String::clone, |()| "it arrived".to_owned());
    Ok(Seen::new(what, honest.is_ok()))
}

async fn jumps(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = pushing(victim, "jumps", 3_000_000).await?;
    for _ in 0..20 {
        peer.mouth.next += 400_000;
        peer.lane(&Packet { kind: kind::PAD, symbol: None, payload: &[0; 64] }).await?;
        peer.listen(Duration::from_millis(10)).await;
    }
    Ok(lives(&mut peer).await)
}

async fn reopens(victim: &Victim) -> Result<Seen, KitError> {
    use speech::Item::{List, Uint};
    let mut peer = pushing(victim, "reopens", 3_000_000).await?;
    let run = List(vec![Uint(0), Uint(2)]);
    peer.tell(&speech::message(vec![Uint(6), Uint(0), List(vec![run]), Uint(3)])).await;
    Ok(ends(&mut peer).await)
}
