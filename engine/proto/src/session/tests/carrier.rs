//! A session over a carrier that keeps order and loses nothing while it lives.

use super::*;
use crate::trace::Limit;

fn over_tcp() -> Pair {
    let over_tcp = || session_over(Carrier::Tcp, Policy::Fair, None);
    let mut pair = Pair::new(Policy::Fair, None);
    pair.ends = [over_tcp(), over_tcp()];
    pair.tick = Duration::from_millis(1);
    pair
}

fn declare(pair: &mut Pair, len: Bytes) {
    pair.ends[0].declare_send(len, &[]).unwrap();
    pair.ends[1].declare_recv(len, &[]).unwrap();
}

/// spec: W-113
#[test]
fn no_train_no_probe_and_no_repair_symbol_leaves() {
    let mut pair = over_tcp();
    pair.ends[0].set_fec(FecPolicy::Always);
    pair.ends[0].warm_up(None);
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.ends[0].counters().packets_sent, 0);
    declare(&mut pair, Bytes::mib(16));
    pair.run(Duration::from_secs(2));
    assert!(pair.ends[0].sender().is_idle());
    assert_eq!(pair.ends[0].sender().counters().repair, 0);
    assert_eq!(pair.ends[0].limits().dominant(), Some(Limit::Carrier));
    let symbols = pair.sent.iter().flatten().filter(|plan| plan.kind != Kind::Feedback);
    assert!(symbols.into_iter().all(|plan| plan.kind == Kind::Data));
}

/// A TCP that waits for its timer is silent for seconds; time-based rules would write off what it
/// holds, and send it again into the same queue.
#[test]
fn a_carrier_that_stalls_is_waited_for_and_nothing_is_sent_twice() {
    let mut pair = over_tcp();
    declare(&mut pair, Bytes::mib(64));
    pair.run(Duration::from_millis(40));
    assert!(pair.ends[0].in_flight() > Bytes::ZERO);
    // Nothing overtakes the first packet; reports come back all the time.
    pair.wires[0].front_mut().unwrap().0 = pair.now + Duration::from_secs(60);
    pair.run(Duration::from_secs(68));
    assert!(pair.ends[0].sender().is_idle());
    assert_eq!(pair.unreached, None);
    assert_eq!(pair.ends[0].counters().packets_lost, 0);
    assert_eq!(pair.ends[0].sender().counters().resent, 0);
}

/// Nothing would follow the last packets, so nothing would tell that the receiver had no room.
#[test]
fn last_packets_that_the_receiver_had_no_room_for_come_again() {
    let mut pair = over_tcp();
    declare(&mut pair, Bytes::mib(2));
    while pair.ends[0].sender().unsent() > Bytes::ZERO {
        pair.run(pair.tick);
    }
    pair.wires[0].clear();
    pair.run(Duration::from_secs(5));
    assert!(pair.ends[0].sender().is_idle());
    assert!(pair.ends[0].sender().counters().resent > 0);
}
