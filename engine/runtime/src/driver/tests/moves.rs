//! A peer that moves: what its body does about it.

use super::super::command::Command;
use super::NOWHERE;
use super::rig::{Forger, Rig, secrets};
use farhaul_proto::wire::header::{Header, Kind};
use std::net::UdpSocket;
use std::time::Duration;

/// QUIC follows its client as well, but what it said there was held to three times what came from
/// there, for the rest of the session: all but its answers was lost.
#[test]
fn quic_may_say_what_it_likes_where_the_lanes_found_the_peer() {
    let mut rig = Rig::new();
    let (ours, theirs) = secrets(1);
    let key = rig.add(&ours, NOWHERE).key;
    let moved = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    moved.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    let at = moved.local_addr().expect("an address");
    let mut peer = Forger::new(&theirs);
    rig.hear_from(at, &mut peer.packet(Kind::Pad, &[0; 1000]));
    rig.driver.turn();
    let quic = rig.control.socket().clone();
    assert!(!quic.deliver(at, 0, &[0x40]), "nobody has asked there yet");

    let mut datagram = [0; 2048];
    let len = moved.recv(&mut datagram).expect("a challenge");
    let (header, head_len) = Header::decode(&datagram[..len]).expect("a lane packet");
    assert_eq!(header.kind, Kind::PathChallenge);
    let (head, body) = datagram[..len].split_at_mut(head_len);
    let (number, mut open) = (header.number.expand(None), theirs.recv.open_key());
    let asked = open.open_in_place(number, header.epoch, head, body).expect("it is ours");
    rig.hear_from(at, &mut peer.packet(Kind::PathResponse, asked));
    rig.driver.turn();
    assert_eq!(rig.driver.sessions[&key].core.peer(), at);
    assert!(quic.deliver(at, 0, &[0x40]));

    rig.tell(Command::Remove(key));
    rig.driver.turn();
    assert!(!rig.driver.sessions.contains_key(&key));
}
