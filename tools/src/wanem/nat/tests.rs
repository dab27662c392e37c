//! What is translated, what is dropped, and what a rebind changes.

use super::*;
use std::net::Ipv4Addr;

const SITE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A finished packet of some payload.
fn packet(protocol: u8, from: Endpoint, to: Endpoint) -> Vec<u8> {
    let (ip_len, l4_len) =
        (if from.0.is_ipv4() { 20 } else { 40 }, if protocol == 6 { 20 } else { 8 });
    let mut packet = vec![0; ip_len + l4_len + 11];
    let len = u16::try_from(l4_len + 11).unwrap();
    if ip_len == 20 {
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(len + 20).to_be_bytes());
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&octets(from.0));
        packet[16..20].copy_from_slice(&octets(to.0));
        let sum = checksum::finish(checksum::add(0, &packet[..20]));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        packet[6] = protocol;
        packet[8..24].copy_from_slice(&octets(from.0));
        packet[24..40].copy_from_slice(&octets(to.0));
    }
    packet[ip_len..ip_len + 2].copy_from_slice(&from.1.to_be_bytes());
    packet[ip_len + 2..ip_len + 4].copy_from_slice(&to.1.to_be_bytes());
    if protocol == 6 {
        packet[ip_len + 12] = 5 << 4;
    } else {
        packet[ip_len + 4..ip_len + 6].copy_from_slice(&len.to_be_bytes());
    }
    packet[ip_len + l4_len..].copy_from_slice(b"hello world");
    let at = ip_len + if protocol == 6 { 16 } else { 6 };
    let sum = checksum::finish(transport_sum(&packet, ip_len, protocol));
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn transport_sum(packet: &[u8], ip_len: usize, protocol: u8) -> u64 {
    let addresses = if ip_len == 20 { 12..20 } else { 8..40 };
    let pseudo = checksum::pseudo_header(&packet[addresses], protocol, packet.len() - ip_len);
    checksum::add(pseudo, &packet[ip_len..])
}

fn is_valid(packet: &[u8], protocol: u8) -> bool {
    let ip_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let ip = ip_len == 40 || checksum::fold(checksum::add(0, &packet[..20])) == 0xffff;
    ip && checksum::fold(transport_sum(packet, ip_len, protocol)) == 0xffff
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn sent(nat: &Nat, port: u16, now: Timestamp) -> Endpoint {
    let mut packet = packet(17, (SITE, port), (FAR, 7411));
    assert_eq!(nat.outward(&mut packet, false, now), Crossing::Passed);
    assert!(is_valid(&packet, 17), "{packet:?}");
    locate_ports(&packet).unwrap().source(&packet).unwrap()
}

/// Where an answer to `to` comes out, if it does.
fn answered(nat: &Nat, to: Endpoint, now: Timestamp) -> Option<Endpoint> {
    let mut packet = packet(17, (FAR, 7411), to);
    let crossing = nat.inward(&mut packet, false, now);
    assert!(is_valid(&packet, 17), "{packet:?}");
    let destination = locate_ports(&packet).unwrap().destination(&packet).unwrap();
    (crossing == Crossing::Passed).then_some(destination)
}

fn translator(address: Option<IpAddr>) -> Nat {
    let nat = Nat::default();
    nat.enable(NatSettings { address, ..NatSettings::default() });
    nat
}

#[test]
fn an_answer_finds_its_way_back_and_strangers_do_not() {
    let nat = translator(None);
    let (one, two) = (sent(&nat, 5000, at(0)), sent(&nat, 5001, at(0)));
    assert_ne!(one.1, two.1);
    assert_eq!(one, sent(&nat, 5000, at(1)), "one source, two mappings");
    assert_eq!(answered(&nat, one, at(2)), Some((SITE, 5000)));
    assert_eq!(answered(&nat, two, at(2)), Some((SITE, 5001)));
    assert_eq!(answered(&nat, (SITE, 5000), at(2)), None);
    assert_eq!(nat.dropped_inward(), 1);
}

#[test]
fn a_rebind_gives_another_port_and_answers_to_the_old_one_are_lost() {
    let nat = translator(None);
    let before = sent(&nat, 5000, at(0));
    nat.rebind();
    assert_eq!(answered(&nat, before, at(0)), None, "only what leaves makes a mapping");
    let after = sent(&nat, 5000, at(0));
    assert_ne!(before, after);
    assert_eq!(answered(&nat, before, at(0)), None);
    assert_eq!(answered(&nat, after, at(0)), Some((SITE, 5000)));
}

#[test]
fn a_mapping_is_forgotten_when_it_was_idle() {
    let nat = translator(None);
    let before = sent(&nat, 5000, at(0));
    assert!(answered(&nat, before, at(29)).is_some());
    assert!(answered(&nat, before, at(58)).is_some(), "an answer keeps it");
    assert_eq!(answered(&nat, before, at(100)), None);
    assert_ne!(sent(&nat, 5000, at(101)), before);
}

#[test]
fn another_address_outside_forgets_the_mappings() {
    let outside = |n| Some(IpAddr::V4(Ipv4Addr::new(10, 77, 0, n)));
    let nat = translator(outside(9));
    let before = sent(&nat, 5000, at(0));
    assert_eq!(before.0, outside(9).unwrap());
    nat.enable(NatSettings { address: outside(10), ..NatSettings::default() });
    let after = sent(&nat, 5000, at(0));
    assert_eq!(after.0, outside(10).unwrap());
    assert_eq!(answered(&nat, before, at(0)), None);
    assert_eq!(answered(&nat, after, at(0)), Some((SITE, 5000)));
}

#[test]
fn checksums_stay_right_in_every_family_protocol_and_state() {
    let [six_a, six_b]: [IpAddr; 2] =
        ["fd77::1", "fd77::2"].map(|text| text.parse().expect("an address"));
    let nine = IpAddr::V4(Ipv4Addr::new(10, 77, 200, 9));
    for (protocol, from, to) in
        [(17, SITE, FAR), (6, SITE, FAR), (17, six_a, six_b), (6, six_a, six_b)]
    {
        let nat = translator(Some(if from.is_ipv4() { nine } else { "fd77::9".parse().unwrap() }));
        let mut finished = packet(protocol, (from, 5000), (to, 80));
        assert_eq!(nat.outward(&mut finished, false, at(0)), Crossing::Passed);
        assert!(is_valid(&finished, protocol), "{protocol} {from}");
        // As the kernel leaves it: the sum of the pseudo header alone.
        let mut unfinished = packet(protocol, (from, 5000), (to, 80));
        let ports = locate_ports(&unfinished).unwrap();
        let ip_len = ports.ports_at;
        let pseudo = |packet: &[u8]| {
            let addresses = ports.addresses_at..ports.addresses_at + 2 * ports.address_len;
            let len = packet.len() - ip_len;
            checksum::fold(checksum::pseudo_header(&packet[addresses], protocol, len))
        };
        let sum = pseudo(&unfinished).to_be_bytes();
        unfinished[ports.checksum_at..ports.checksum_at + 2].copy_from_slice(&sum);
        assert_eq!(nat.outward(&mut unfinished, true, at(0)), Crossing::Passed);
        let kept = &unfinished[ports.checksum_at..ports.checksum_at + 2];
        assert_eq!(kept, pseudo(&unfinished).to_be_bytes(), "{protocol} {from}");
    }
}

#[test]
fn what_has_no_ports_passes_as_it_is() {
    let nat = translator(None);
    let mut echo = packet(17, (SITE, 1), (FAR, 2));
    echo[9] = 1;
    let mut later_fragment = packet(17, (SITE, 1), (FAR, 2));
    later_fragment[7] = 5;
    for original in [echo, later_fragment, vec![0x45; 19], vec![0x60; 41], Vec::new()] {
        let mut packet = original.clone();
        assert_eq!(nat.outward(&mut packet, false, at(0)), Crossing::Passed);
        assert_eq!(nat.inward(&mut packet, false, at(0)), Crossing::Passed);
        assert_eq!(packet, original);
    }
}
