//! The UDP socket: what the kernel grants, and whether datagrams travel in trains.

use super::Finding;
use farhaul_engine::net::{PortConfig, RecvBatch, UdpPort};
use farhaul_proto::units::Bytes;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// Receive memory below which a fast path overruns the socket.
const RECEIVE_MIN: Bytes = Bytes::mib(16);
/// Send memory for a few trains.
const SEND_MIN: Bytes = Bytes::mib(2);
/// Datagrams of the train that is tried, and their length.
const TRAIN: usize = 8;
const SEGMENT: usize = 1_200;
/// Over loopback it arrives at once.
const ARRIVES: Duration = Duration::from_millis(500);

pub(super) fn examine() -> Vec<Finding> {
    let port = || UdpPort::bind((Ipv4Addr::LOCALHOST, 0).into(), PortConfig::default());
    match (port(), port()) {
        (Ok(sender), Ok(receiver)) => {
            let (receive, send) =
                (receiver.recv_buffer().get() / 2, receiver.send_buffer().get() / 2);
            let mut findings = vec![
                buffer("UDP receive buffer", "rmem_max", Bytes::new(receive), RECEIVE_MIN),
                buffer("UDP send buffer", "wmem_max", Bytes::new(send), SEND_MIN),
            ];
            findings.extend(trains(&sender, &receiver));
            findings
        }
        (Err(error), _) | (_, Err(error)) => vec![Finding::broken(
            "UDP socket",
            error.to_string(),
            "nothing can be carried",
            "see whether this user may open sockets (container, seccomp filter, ulimit -n)",
        )],
    }
}

fn buffer(check: &'static str, setting: &str, granted: Bytes, needed: Bytes) -> Finding {
    if granted >= needed {
        return Finding::good(check, format!("{granted} granted"));
    }
    Finding::slow(
        check,
        format!("{granted} granted, less than {needed}"),
        "above about 1 Gbit/s packets are lost in this host's socket",
        format!("sysctl -w net.core.{setting}={}", 2 * needed.get()),
    )
}

fn trains(sender: &UdpPort, receiver: &Arc<UdpPort>) -> Vec<Finding> {
    let to = receiver.local_addr();
    let sent = sender.send_train(to, SEGMENT, &vec![0; TRAIN * SEGMENT]);
    let arrived = sent.and_then(|_| count(receiver));
    let segments = sender.segments_on_send(to);
    vec![segmentation(segments), merging(receiver.merges_on_receive()), arrival(&arrived)]
}

fn count(receiver: &UdpPort) -> io::Result<usize> {
    let (mut batch, mut arrived) = (RecvBatch::new(), 0);
    while arrived < TRAIN && receiver.readable(Some(ARRIVES))? {
        receiver.recv_batch(&mut batch)?;
        arrived += batch.segments_mut().count();
    }
    Ok(arrived)
}

fn segmentation(works: bool) -> Finding {
    if works {
        return Finding::good("UDP segmentation (GSO)", "works");
    }
    Finding::slow(
        "UDP segmentation (GSO)",
        "does not work",
        "each packet is a system call of its own: about three times the processor time",
        "use a kernel from 4.18 on, and a runtime that lets UDP_SEGMENT through",
    )
}

fn merging(works: bool) -> Finding {
    if works {
        return Finding::good("UDP merging (GRO)", "works");
    }
    Finding::slow(
        "UDP merging (GRO)",
        "does not work",
        "the receiver is woken for single packets: about twice the processor time",
        "use a kernel from 5.0 on; for a network card: ethtool -K DEVICE rx-udp-gro-forwarding on",
    )
}

fn arrival(arrived: &io::Result<usize>) -> Finding {
    match arrived {
        Ok(TRAIN) => Finding::good("UDP over loopback", "arrives"),
        Ok(some) => Finding::broken(
            "UDP over loopback",
            format!("{some} of {TRAIN} datagrams arrived"),
            "even within this host UDP is lost",
            "see whether a firewall drops UDP on lo (nft list ruleset)",
        ),
        Err(error) => Finding::broken(
            "UDP over loopback",
            error.to_string(),
            "even within this host UDP fails",
            "see whether a firewall rejects UDP on lo (nft list ruleset)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn each_check_tells_good_from_bad() {
        let granted = |mib| buffer("b", "rmem_max", Bytes::mib(mib), RECEIVE_MIN);
        assert_eq!(granted(16).level, Level::Good);
        assert_eq!(granted(1).mend, "sysctl -w net.core.rmem_max=33554432");
        assert_eq!((segmentation(false).level, merging(false).level), (Level::Slow, Level::Slow));
        assert_eq!(arrival(&Ok(TRAIN)).level, Level::Good);
        assert_eq!(arrival(&Ok(TRAIN - 1)).level, Level::Broken);
        assert_eq!(arrival(&Err(io::ErrorKind::PermissionDenied.into())).level, Level::Broken);
    }

    #[test]
    fn a_train_arrives_over_loopback() {
        let found = examine();
        let last = found.last().expect("findings");
        assert_eq!((last.check, last.level), ("UDP over loopback", Level::Good), "{found:?}");
    }
}
