//! What a router says that cannot pass a packet on: "fragmentation needed" (RFC 792, RFC 1191) or
//! "packet too big" (RFC 4443).

use super::checksum;

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
/// Bytes of the answer's own headers: IP, then ICMP.
const V4_HEADERS: usize = 20 + 8;
const V6_HEADERS: usize = 40 + 8;
/// No answer over IPv6 is longer (RFC 4443 section 2.4).
const V6_MAX: usize = 1280;

/// The answer to the sender of `packet`, which is larger than `mtu`, as if its destination said so;
/// `None` for what must not be answered.
pub(crate) fn answer(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    match packet.first()? >> 4 {
        4 => answer_v4(packet, mtu),
        6 => answer_v6(packet, mtu),
        _ => None,
    }
}

fn answer_v4(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let ip_len = usize::from(packet[0] & 15) * 4;
    // The header and the 8 bytes behind it tell the sender which flow it is.
    let quoted = packet.get(..ip_len + 8).filter(|_| ip_len >= 20)?;
    if packet[9] == ICMP {
        return None;
    }
    let len = V4_HEADERS + quoted.len();
    let mut out = vec![0; V4_HEADERS];
    out[0] = 0x45;
    out[2..4].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    out[8] = 64;
    out[9] = ICMP;
    out[12..16].copy_from_slice(&packet[16..20]);
    out[16..20].copy_from_slice(&packet[12..16]);
    let sum = checksum::finish(checksum::add(0, &out[..20]));
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    // Destination unreachable: fragmentation needed.
    out[20] = 3;
    out[21] = 4;
    out[26..28].copy_from_slice(&mtu.to_be_bytes());
    out.extend_from_slice(quoted);
    let sum = checksum::finish(checksum::add(0, &out[20..]));
    out[22..24].copy_from_slice(&sum.to_be_bytes());
    Some(out)
}

fn answer_v6(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let quoted = &packet[..packet.len().min(V6_MAX - V6_HEADERS)];
    if quoted.len() < 48 || packet[6] == ICMP_V6 {
        return None;
    }
    let mut out = vec![0; V6_HEADERS];
    out[0] = 0x60;
    let len = 8 + quoted.len();
    out[4..6].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    out[6] = ICMP_V6;
    out[7] = 64;
    out[8..24].copy_from_slice(&packet[24..40]);
    out[24..40].copy_from_slice(&packet[8..24]);
    // Packet too big.
    out[40] = 2;
    out[44..48].copy_from_slice(&u32::from(mtu).to_be_bytes());
    out.extend_from_slice(quoted);
    let pseudo = checksum::pseudo_header(&out[8..40], ICMP_V6, len);
    let sum = checksum::finish(checksum::add(pseudo, &out[40..]));
    out[42..44].copy_from_slice(&sum.to_be_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_the_size_and_quotes_the_packet() {
        let mut packet = vec![7; 1500];
        packet[0] = 0x45;
        packet[9] = 17;
        let out = answer(&packet, 1300).expect("an answer");
        assert_eq!(out[12..20], [7; 8]);
        assert_eq!((out[20], out[21], &out[26..28]), (3, 4, &1300u16.to_be_bytes()[..]));
        assert_eq!(out[28..], packet[..28]);
        for part in [&out[..20], &out[20..]] {
            assert_eq!(checksum::fold(checksum::add(0, part)), 0xffff);
        }
        packet[0] = 0x60;
        packet[6] = 17;
        let out = answer(&packet, 1300).expect("an answer");
        assert_eq!((out.len(), out[40], &out[44..48]), (1280, 2, &1300u32.to_be_bytes()[..]));
        let pseudo = checksum::pseudo_header(&out[8..40], ICMP_V6, out.len() - 40);
        assert_eq!(checksum::fold(checksum::add(pseudo, &out[40..])), 0xffff);
    }

    #[test]
    fn errors_and_scraps_are_not_answered() {
        let mut echo = vec![0; 1500];
        echo[0] = 0x45;
        echo[9] = ICMP;
        for packet in [echo, vec![0x45; 20], vec![0x60; 47], vec![0x40; 40], Vec::new()] {
            assert_eq!(answer(&packet, 1300), None);
        }
    }
}
