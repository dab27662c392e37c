//! Receivers that lie about what arrived (T-08), that say nothing (T-09), and that cannot write a
//! report (W-041, W-047, W-049, W-058).

use crate::table::{Seen, Table, ends, lives};
use crate::victim::{FILE, Victim};
use farhaul_hostile::KitError;
use farhaul_hostile::lane::{Packet, kind};
use farhaul_hostile::report::Report;
use std::time::{Duration, Instant};

/// How long each behaves before it lies.
const HONEST_FOR: Duration = Duration::from_millis(400);

/// A lie: its name, and what it makes of a true report.
type Lie = (&'static str, fn(&mut Report));

const FATAL: [Lie; 14] = [
    ("acknowledges what was never sent", |r| {
        let largest = (r.largest / 64 + (1 << 14)) * 64;
        (r.largest, r.span, r.ranges) = (largest, 0, vec![(largest, largest)]);
    }),
    ("acknowledges four packets ahead of what came", |r| {
        (r.largest, r.span, r.ranges[0].1) = (r.largest + 4, r.span + 4, r.largest + 4);
    }),
    ("hides the loss of one packet", |r| r.receipt ^= 0x3a5c),
    ("leaves the receipt out", |r| r.receipt = 0),
    ("writes a form that does not exist", |r| r.form = 3),
    ("says that nothing arrived, and then what", |r| r.form = 0),
    ("speaks about packets below what it covers", |r| r.span = 0),
    ("covers from an odd number", |r| r.span -= 1),
    ("names a range that ends above the one before", |r| {
        let newest = r.ranges[0];
        r.ranges = vec![newest, newest];
    }),
    ("calls blocks complete that were never begun", |r| r.complete_below = 1 << 30),
    ("calls more blocks complete than there are", |r| r.complete = vec![(0, u64::from(u32::MAX))]),
    ("lacks more symbols than a block has", |r| r.deficits = vec![(0, 4097)]),
    ("grants more blocks than 32 bits count", |r| r.limit = 1 << 40),
    ("is further behind with decoding than 32 bits count", |r| r.decoding = 1 << 40),
];

pub(crate) async fn attack(victim: &Victim, table: &mut Table) {
    for (name, lie) in FATAL {
        let seen = lies(victim, lie).await;
        table.take("T-08", &format!("receiver {name}"), "session ended: protocol", seen);
    }
    let seen = claims_skipped(victim).await;
    table.take("T-08", "receiver fills every gap it sees", "session ended: protocol", seen);
    let seen = lives_with(victim, |r| r.limit = u64::from(u32::MAX)).await;
    table.take("T-08", "receiver grants four billion blocks", "lives; own bounds hold", seen);
    let seen = lives_with(victim, |r| r.deficits = vec![(1 << 20, 4096)]).await;
    table.take("T-08", "receiver lacks symbols of blocks to come", "ignored", seen);
    let seen = lives_with(victim, |r| r.backlog = u64::MAX >> 2).await;
    table.take("T-08", "receiver has an endless backlog", "ignored", seen);
    let seen = lives_with(victim, |r| r.decoding = u64::from(u32::MAX)).await;
    table.take("T-08", "receiver will decode for an hour", "lives", seen);
    table.take(
        "T-09",
        "receiver falls silent in mid-transfer",
        "at most 4 packets in 3 s",
        starves(victim).await,
    );
    let attack = "receiver that tells the same again and again, and claims drops";
    table.take("T-09", attack, "at most 4 packets in 3 s", claims_drops(victim).await);
    table.take(
        "T-09",
        "receiver grants nothing",
        "an honest transfer arrives",
        grants_nothing(victim).await,
    );
    table.take(
        "W-041",
        "report with a byte behind it",
        "session ended: protocol",
        trails(victim).await,
    );
    table.take(
        "W-045",
        "padding that carries something",
        "session ended: protocol",
        pads(victim).await,
    );
}

async fn lies(victim: &Victim, lie: fn(&mut Report)) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let mut report = peer.notes.report();
    lie(&mut report);
    peer.report(&report).await?;
    Ok(ends(&mut peer).await)
}

async fn lives_with(victim: &Victim, lie: fn(&mut Report)) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    for _ in 0..50 {
        peer.listen(Duration::from_millis(5)).await;
        let mut report = peer.notes.report();
        lie(&mut report);
        peer.report(&report).await?;
    }
    let seen = lives(&mut peer).await;
    peer.leave().await;
    Ok(seen)
}

/// Nothing is lost on loopback, so every gap is a number that was skipped.
async fn claims_skipped(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let mut report = peer.notes.report();
    for _ in 0..400 {
        if report.ranges.len() > 1 {
            break;
        }
        peer.behave(Duration::from_millis(5)).await?;
        report = peer.notes.report();
    }
    report.ranges = vec![(report.largest - report.span, report.largest)];
    peer.report(&report).await?;
    Ok(ends(&mut peer).await)
}

/// spec: W-058: halved again and again, stopped after a second, then single questions.
async fn starves(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let first = peer.listen(Duration::from_millis(1500)).await.len();
    let then = peer.listen(Duration::from_secs(3)).await.len();
    peer.leave().await;
    let what = format!("{first} packets in 1.5 s, then {then} in 3 s");
    Ok(Seen::new(what, then <= 4))
}

/// spec: W-137: the victim holds its rate, and reports that name nothing new do not feed it.
async fn claims_drops(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let mut heard = [0; 2];
    let mut report = peer.notes.report();
    for (span, heard) in [1500, 3000].into_iter().zip(&mut heard) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(span) {
            *heard += peer.listen(Duration::from_millis(10)).await.len();
            report.counters[4] += 1;
            peer.report(&report).await?;
        }
    }
    peer.leave().await;
    let [first, then] = heard;
    let what = format!("{first} packets in 1.5 s, then {then} in 3 s");
    Ok(Seen::new(what, then <= 4))
}

/// What was read for it waits in the victim's buffers.
async fn grants_nothing(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    for _ in 0..50 {
        peer.listen(Duration::from_millis(5)).await;
        let mut report = peer.notes.report();
        report.limit = 0;
        peer.report(&report).await?;
    }
    let honest = victim.honest_transfer();
    let what = honest.as_ref().map_or_else(String::clone, |()| "it arrived".to_owned());
    Ok(Seen::new(what, honest.is_ok()))
}

async fn trails(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let payload = [&peer.notes.report().encode()[..], &[0]].concat();
    peer.lane(&Packet { kind: kind::FEEDBACK, symbol: None, payload: &payload }).await?;
    Ok(ends(&mut peer).await)
}

async fn pads(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    peer.lane(&Packet { kind: kind::PAD, symbol: None, payload: &[0, 0, 1] }).await?;
    Ok(ends(&mut peer).await)
}
