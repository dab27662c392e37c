//! The split is checked against what each segment must be, field by field, over both transports
//! and both IP versions; `netem-tests` compares it with the kernel's own segmentation as well.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Sent {
    v6: bool,
    tcp: bool,
    gso_size: usize,
    payload: Vec<u8>,
    ip_id: u16,
    sequence: u32,
    flags: u8,
    options: usize,
}

fn sent() -> impl Strategy<Value = Sent> {
    let payload = prop::collection::vec(any::<u8>(), 1..12_000);
    let bits = (any::<bool>(), any::<bool>(), any::<u16>(), any::<u32>(), any::<u8>());
    (bits, 1usize..1500, payload, 0usize..=10).prop_map(
        |((v6, tcp, ip_id, sequence, flags), gso_size, payload, options)| Sent {
            v6,
            tcp,
            gso_size,
            payload,
            ip_id,
            sequence,
            flags,
            options: options * 4,
        },
    )
}

/// The frame that the kernel would hand over for `sent`.
fn frame_of(sent: &Sent) -> (VnetHeader, Vec<u8>) {
    let ip_len = if sent.v6 { 40 } else { 20 };
    let transport_len = if sent.tcp { 20 + sent.options } else { UDP_HEADER_LEN };
    let mut packet = vec![0u8; ip_len + transport_len];
    if sent.v6 {
        packet[0] = 0x60;
        put_u16(&mut packet, 4, transport_len + sent.payload.len());
        packet[6] = if sent.tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
        packet[7] = 64;
        packet[8..40].fill(0x5a);
    } else {
        packet[0] = 0x45;
        put_u16(&mut packet, 2, 20 + transport_len + sent.payload.len());
        put_u16(&mut packet, 4, usize::from(sent.ip_id));
        packet[8] = 64;
        packet[9] = if sent.tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
        packet[12..20].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
        let sum = checksum::finish(checksum::add(0, &packet[..20]));
        put_u16(&mut packet, 10, usize::from(sum));
    }
    let addresses = if sent.v6 { 8..40 } else { 12..20 };
    let protocol = if sent.tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
    let len = transport_len + sent.payload.len();
    let pseudo = checksum::fold(checksum::pseudo_header(&packet[addresses], protocol, len));
    let checksum_offset = if sent.tcp { TCP_CHECKSUM_OFFSET } else { UDP_CHECKSUM_OFFSET };
    let transport = &mut packet[ip_len..];
    put_u16(transport, usize::from(checksum_offset), usize::from(pseudo));
    put_u16(transport, 0, 4000);
    put_u16(transport, 2, 5000);
    if sent.tcp {
        transport[4..8].copy_from_slice(&sent.sequence.to_be_bytes());
        transport[12] = u8::try_from((transport_len / 4) << 4).expect("at most 60 bytes");
        transport[13] = sent.flags;
    } else {
        put_u16(transport, 4, UDP_HEADER_LEN + sent.payload.len());
    }
    packet.extend_from_slice(&sent.payload);
    let vnet = VnetHeader {
        needs_checksum: true,
        gso: match (sent.tcp, sent.v6) {
            (true, false) => GsoKind::Tcp4,
            (true, true) => GsoKind::Tcp6,
            (false, _) => GsoKind::Udp,
        },
        ecn: sent.tcp && sent.flags & TCP_CWR != 0,
        header_len: 0,
        gso_size: u16::try_from(sent.gso_size).expect("below 1500"),
        checksum_start: u16::try_from(ip_len).expect("at most 40"),
        checksum_offset,
    };
    (vnet, packet)
}

/// Checks lengths and checksums of a finished packet; gives IP id, transport header, payload.
fn dissect(packet: &[u8], v6: bool, tcp: bool) -> (u16, Vec<u8>, Vec<u8>) {
    let (ip_len, addresses) = if v6 { (40, 8..40) } else { (20, 12..20) };
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let mut id = 0;
    if v6 {
        assert_eq!(word(4), packet.len() - 40);
    } else {
        assert_eq!(word(2), packet.len());
        assert_eq!(checksum::fold(checksum::add(0, &packet[..20])), 0xffff);
        id = u16::from_be_bytes([packet[4], packet[5]]);
    }
    let transport = &packet[ip_len..];
    let protocol = if tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
    let sum = checksum::pseudo_header(&packet[addresses], protocol, transport.len());
    assert_eq!(checksum::fold(checksum::add(sum, transport)), 0xffff, "transport checksum");
    let header_len = if tcp { usize::from(transport[12] >> 4) * 4 } else { UDP_HEADER_LEN };
    if !tcp {
        assert_eq!(word(ip_len + 4), transport.len());
    }
    (id, transport[..header_len].to_vec(), transport[header_len..].to_vec())
}

fn check_tcp(sent: &Sent, header: &[u8], offset: usize, first: bool, last: bool) {
    let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    assert_eq!(sequence, sent.sequence.wrapping_add(u32::try_from(offset).expect("small")));
    let mut flags = sent.flags;
    if !last {
        flags &= !TCP_FIN_PSH;
    }
    if !first {
        flags &= !TCP_CWR;
    }
    assert_eq!(header[13], flags);
}

proptest! {
    #[test]
    fn every_segment_is_a_correct_packet_and_together_they_are_the_payload(sent in sent()) {
        let (vnet, packet) = frame_of(&sent);
        let frame = Frame::parse(vnet, &packet).expect("a frame as the kernel makes it");
        let count = frame.segments();
        prop_assert_eq!(usize::from(count), sent.payload.len().div_ceil(sent.gso_size));
        let mut joined = Vec::new();
        let mut out = Vec::new();
        for segment in 0..count {
            materialise(&frame, &packet, segment, &mut out);
            let single = &out[VnetHeader::LEN..];
            prop_assert_eq!(frame.segment_len(segment), Bytes::of_len(single.len()));
            let (id, header, payload) = dissect(single, sent.v6, sent.tcp);
            if !sent.v6 {
                prop_assert_eq!(id, sent.ip_id.wrapping_add(segment));
            }
            if sent.tcp {
                check_tcp(&sent, &header, joined.len(), segment == 0, segment + 1 == count);
            }
            joined.extend_from_slice(&payload);
        }
        prop_assert_eq!(joined, sent.payload);
    }

    #[test]
    fn a_run_taken_apart_again_gives_the_same_packets(sent in sent(), cut in any::<[u16; 2]>()) {
        let (vnet, packet) = frame_of(&sent);
        let frame = Frame::parse(vnet, &packet).expect("a frame as the kernel makes it");
        let first = cut[0] % frame.segments();
        let run = Run { first, count: 1 + cut[1] % (frame.segments() - first) };
        let headers = frame.headers(&packet, run);
        let (vnet, ip) = headers.as_bytes().split_at(VnetHeader::LEN);
        let again = [ip, &packet[frame.payload(run)]].concat();
        let vnet = VnetHeader::decode(vnet).expect("our own header");
        let nested = Frame::parse(vnet, &again).expect("a run is a frame");
        prop_assert_eq!(nested.segments(), run.count);
        let (mut direct, mut indirect) = (Vec::new(), Vec::new());
        for segment in 0..run.count {
            materialise(&frame, &packet, run.first + segment, &mut direct);
            materialise(&nested, &again, segment, &mut indirect);
            prop_assert_eq!(&direct, &indirect);
        }
    }

    #[test]
    fn no_header_and_packet_makes_it_panic(vnet in any::<[u8; 10]>(), packet in prop::collection::vec(any::<u8>(), 0..300)) {
        let Some(vnet) = VnetHeader::decode(&vnet) else { return Ok(()) };
        if let Ok(frame) = Frame::parse(vnet, &packet) {
            let mut out = Vec::new();
            for segment in 0..frame.segments() {
                let run = Run { first: segment, count: 1 };
                prop_assert!(!frame.headers(&packet, run).as_bytes().is_empty());
                materialise(&frame, &packet, segment, &mut out);
            }
        }
    }

    #[test]
    fn damage_changes_the_payload_and_udp_still_verifies(sent in sent(), at in any::<u64>()) {
        let (vnet, packet) = frame_of(&sent);
        let frame = Frame::parse(vnet, &packet).expect("a frame as the kernel makes it");
        let mut out = Vec::new();
        materialise(&frame, &packet, 0, &mut out);
        let before = out[VnetHeader::LEN..].to_vec();
        let mut after = before.clone();
        damage(&mut after, at);
        prop_assert_ne!(&before, &after);
        if !sent.tcp {
            let (_, _, payload) = dissect(&after, sent.v6, false);
            prop_assert_ne!(payload.as_slice(), &sent.payload[..payload.len()]);
        }
    }
}

#[test]
fn a_plain_packet_passes_with_its_own_header() {
    let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
    let frame = Frame::parse(VnetHeader::default(), &packet).expect("a packet");
    assert_eq!(frame.segments(), 1);
    assert_eq!(frame.headers(&packet, frame.whole()).as_bytes(), VnetHeader::default().encode());
    assert_eq!(frame.payload(frame.whole()), 0..20);
}
