//! What a peer that moves may do, and what somebody who forwards its packets may not.

use super::*;
use proptest::prelude::*;

const PACE: Pace =
    Pace { rtt: Duration::from_millis(100), pessimistic: Duration::from_millis(200) };
const REPORT: Bytes = Bytes::new(100);
const DATA: Bytes = Bytes::new(1473);

fn host(last: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, last], 4000))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn number(n: u64) -> PacketNumber {
    PacketNumber::new(n)
}

/// A peer at `host(1)` that was heard there up to packet 10.
fn peer() -> PeerAddress {
    let mut peer = PeerAddress::new(host(1), 7);
    assert_eq!(peer.on_packet(host(1), number(10), false, DATA, PACE, at(0)), None);
    peer
}

fn heard(peer: &mut PeerAddress, from: SocketAddr, n: u64, ms: u64) -> Option<Moved> {
    peer.on_packet(from, number(n), false, DATA, PACE, at(ms))
}

/// Moves the peer to `to` by a challenge and its answer.
fn follow(peer: &mut PeerAddress, to: SocketAddr, n: u64, ms: u64) -> Moved {
    assert_eq!(heard(peer, to, n, ms), None);
    let (asked, token) = peer.take_challenge(PACE, at(ms)).expect("a challenge");
    assert_eq!(asked, to);
    peer.on_response(to, token, PACE, at(ms + 100)).expect("validated")
}

#[test]
fn a_new_address_is_used_once_it_answered_and_not_before() {
    let mut peer = peer();
    assert_eq!(heard(&mut peer, host(2), 11, 0), None);
    assert_eq!(peer.active(), host(1));
    let (to, token) = peer.take_challenge(PACE, at(0)).expect("a challenge");
    assert_eq!(to, host(2));
    assert_eq!(peer.on_response(host(3), token, PACE, at(1)), None, "from elsewhere");
    assert_eq!(peer.on_response(host(2), token ^ 1, PACE, at(1)), None, "other bits");
    let moved = peer.on_response(host(2), token, PACE, at(1)).expect("validated");
    assert_eq!((moved.from, moved.to, moved.returned), (host(1), host(2), false));
    assert_eq!(peer.active(), host(2));
    assert_eq!(peer.on_response(host(2), token, PACE, at(2)), None, "once");
}

#[test]
fn late_packets_and_questions_about_paths_are_no_move() {
    let mut peer = peer();
    assert_eq!(heard(&mut peer, host(2), 9, 0), None);
    assert_eq!(peer.on_packet(host(2), number(11), true, DATA, PACE, at(0)), None);
    assert_eq!(peer.take_challenge(PACE, at(0)), None);
}

#[test]
fn a_peer_that_speaks_from_its_old_address_again_has_not_moved() {
    let mut peer = peer();
    heard(&mut peer, host(2), 11, 0);
    let (_, token) = peer.take_challenge(PACE, at(0)).expect("a challenge");
    heard(&mut peer, host(1), 12, 50);
    assert_eq!(peer.on_response(host(2), token, PACE, at(100)), None);
    assert_eq!(peer.active(), host(1));
}

#[test]
fn bulk_that_was_led_astray_comes_home_at_once_and_stays_there() {
    let mut peer = peer();
    follow(&mut peer, host(66), 11, 0);
    let moved = heard(&mut peer, host(1), 12, 200).expect("home again");
    assert_eq!((moved.to, moved.returned), (host(1), true));
    heard(&mut peer, host(66), 13, 210);
    assert_eq!(peer.take_challenge(PACE, at(210)), None, "asked the forwarder again");
    heard(&mut peer, host(66), 14, 5_000);
    assert!(peer.take_challenge(PACE, at(5_000)).is_some(), "shunned for ever");
}

#[test]
fn an_address_left_long_ago_has_to_answer_again() {
    let mut peer = peer();
    follow(&mut peer, host(2), 11, 0);
    assert_eq!(heard(&mut peer, host(1), 12, 2_000), None);
    assert_eq!(peer.active(), host(2));
    assert!(peer.take_challenge(PACE, at(2_000)).is_some());
}

#[test]
fn challenges_are_repeated_and_given_up() {
    let mut peer = peer();
    heard(&mut peer, host(2), 11, 0);
    let asked = (0..5_000).filter(|&ms| peer.take_challenge(PACE, at(ms)).is_some()).count();
    assert_eq!(asked, 3, "3 x 1473 bytes are room for three");
    assert_eq!(peer.validating_since(), None);
    heard(&mut peer, host(2), 12, 6_000);
    assert!(peer.take_challenge(PACE, at(6_000)).is_some());
}

#[test]
fn no_peer_leads_to_our_own_host_or_wire_or_to_many_hosts() {
    let places = [
        "127.0.0.1:9",
        "[::1]:9",
        "169.254.1.1:9",
        "[fe80::1]:9",
        "224.0.0.1:9",
        "255.255.255.255:9",
        "0.0.0.0:9",
        "[ff02::1]:9",
        "203.0.113.9:0",
    ];
    let all = places.map(|text| text.parse::<SocketAddr>().expect("an address"));
    let asked = |first: SocketAddr, to: SocketAddr| {
        let mut peer = PeerAddress::new(first, 7);
        heard(&mut peer, to, 11, 0);
        peer.take_challenge(PACE, at(0)).is_some()
    };
    assert!(all.iter().all(|&to| !asked(host(1), to)));
    let local = SocketAddr::from(([127, 0, 0, 1], 5000));
    assert!(asked(local, all[0]) && asked(local, host(1)));
    assert!(!asked(local, all[2]) && !asked(local, all[4]));
}

#[test]
fn a_port_or_a_neighbour_is_near_and_everything_else_is_not() {
    let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
    for (a, b, near) in [
        ("192.0.2.1:5", "192.0.2.1:6", true),
        ("192.0.2.1:5", "192.0.2.99:5", true),
        ("192.0.2.1:5", "192.0.3.1:5", false),
        ("[2001:db8::1]:5", "[2001:db8::ffff]:5", true),
        ("[2001:db8::1]:5", "[2001:db8:0:1::1]:5", false),
        ("192.0.2.1:5", "[2001:db8::1]:5", false),
    ] {
        assert_eq!(nearness(parse(a), parse(b)) == Nearness::SameNetwork, near, "{a} {b}");
    }
}

#[test]
fn tokens_differ() {
    let tokens: std::collections::BTreeSet<u64> =
        (0..10).flat_map(|seed| (0..10).map(move |count| token(seed, count))).collect();
    assert_eq!(tokens.len(), 100);
}

proptest! {
    /// spec: W-102
    #[test]
    fn an_address_that_has_not_answered_gets_at_most_three_times_what_came(
        steps in prop::collection::vec((0u8..5, 1u8..4, 0u64..50), 1..400),
    ) {
        let mut peer = peer();
        let mut now = 0;
        let mut n = 10;
        let mut balance = std::collections::BTreeMap::<SocketAddr, (u64, u64)>::new();
        for (what, who, pause) in steps {
            now += pause;
            match what {
                0 | 1 => {
                    n += 1;
                    let bytes = if what == 0 { DATA } else { REPORT };
                    peer.on_packet(host(who), number(n), false, bytes, PACE, at(now));
                    balance.entry(host(who)).or_default().0 += bytes.get();
                }
                2 => if let Some((to, _)) = peer.take_challenge(PACE, at(now)) {
                    balance.entry(to).or_default().1 += CHALLENGE_BYTES.get();
                },
                3 => if let Some(to) = peer.also(REPORT) {
                    balance.entry(to).or_default().1 += REPORT.get();
                },
                _ => {
                    peer.on_response(host(who), 1, PACE, at(now));
                }
            }
            prop_assert_eq!(peer.active(), host(1), "moved without an answer");
            for (received, sent) in balance.values() {
                prop_assert!(*sent <= received * 3, "{} of {}", sent, received);
            }
        }
    }
}
