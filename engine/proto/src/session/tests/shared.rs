//! A cap over several sessions: who is held by it, and who only waits for its turn.

use super::*;
use crate::shares::Bucket;

const CAP: BitRate = BitRate::mbps(100);

/// A session of a fixed rate under way, and others that use whatever of the cap it leaves.
struct Under {
    pair: Pair,
    bucket: Bucket,
    /// What the others sent.
    others: Bytes,
}

impl Under {
    fn new(rate: BitRate) -> Self {
        let mut pair = Pair::new(Policy::Fixed, Some(rate));
        pair.ends[0].declare_send(Bytes::mib(64), &[]).unwrap();
        pair.ends[1].declare_recv(Bytes::mib(64), &[]).unwrap();
        pair.run(Duration::from_millis(300));
        let bucket = Bucket::new(CAP, pair.now);
        Self { pair, bucket, others: Bytes::ZERO }
    }

    /// Answers what the session sent, and in how many steps of how many it was taken for one that has
    /// nothing to send. It has the first turn until it sent more than `part` times what the others did.
    fn run(&mut self, span: Duration, part: u64) -> (Bytes, u32, u32) {
        let packet = packet_bytes(SYMBOL_SIZE);
        let pair = &mut self.pair;
        let (begun, end) = (pair.ends[0].counters().wire_sent, pair.now + span);
        let (mut limited, mut steps) = (0, 0);
        while pair.now < end {
            pair.now += pair.tick;
            let before = pair.ends[0].counters().wire_sent;
            let is_first = before - begun <= self.others.saturating_mul(part);
            if !is_first {
                self.others += Self::take_rest(&mut self.bucket, pair.now);
            }
            let left = self.bucket.allowance(packet, pair.now);
            pair.ends[0].allow(Some((left, self.bucket.opens_at().unwrap())));
            pair.step(0);
            let sent = pair.ends[0].counters().wire_sent - before;
            if sent > Bytes::ZERO {
                self.bucket.take_many(sent, packet, pair.now);
            }
            self.others += Self::take_rest(&mut self.bucket, pair.now);
            limited += u32::from(core::mem::take(&mut pair.ends[0].app_limited));
            steps += 1;
            pair.step(1);
        }
        (pair.ends[0].counters().wire_sent - begun, limited, steps)
    }

    fn take_rest(bucket: &mut Bucket, now: Timestamp) -> Bytes {
        let (packet, mut taken) = (packet_bytes(SYMBOL_SIZE), Bytes::ZERO);
        while bucket.is_open(now) {
            bucket.take(packet, now);
            taken += packet;
        }
        taken
    }
}

/// Others use all of the cap, so it is spent whenever one looks; but whoever is below its part has the
/// next turn, and is held by its own rate. Taken for one that has nothing to send, it never grew.
/// spec: W-150
#[test]
fn who_is_below_its_part_of_a_cap_is_held_by_its_own_rate() {
    for rate in [BitRate::mbps(10), BitRate::mbps(30)] {
        let mut under = Under::new(rate);
        let span = Duration::from_secs(1);
        let (sent, limited, steps) = under.run(span, u64::MAX);
        println!("{rate}: {}, {limited} of {steps}", sent.rate_over(span));
        assert!(sent.rate_over(span) > rate.mul_f64(0.97), "{rate}: {}", sent.rate_over(span));
        assert_eq!(limited, 0, "{rate}, of {steps} steps");
    }
}

/// spec: W-148, W-150
#[test]
fn who_could_send_more_than_its_part_of_a_cap_counts_as_one_that_has_nothing_to_send() {
    let mut under = Under::new(BitRate::mbps(200));
    let span = Duration::from_millis(500);
    let (sent, limited, steps) = under.run(span, 1);
    println!("{}, {limited} of {steps}", sent.rate_over(span));
    let half = CAP.mul_f64(0.5);
    assert!(sent.rate_over(span) > half.mul_f64(0.95), "{}", sent.rate_over(span));
    assert!(sent.rate_over(span) < half.mul_f64(1.06), "{}", sent.rate_over(span));
    // A report speaks of five milliseconds at least.
    assert!(limited > steps / 20, "{limited} of {steps}");
}
