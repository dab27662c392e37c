//! The UDP port over loopback: trains in, merged buffers out, every datagram as it was cut.
#![allow(missing_docs, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farhaul_engine::net::{PortConfig, RecvBatch, Sent, Train, UdpPort};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

fn port(addr: &str) -> Arc<UdpPort> {
    let addr: SocketAddr = addr.parse().expect("a literal");
    UdpPort::bind(addr, PortConfig::default()).expect("loopback has a free port")
}

/// Bytes that differ from segment to segment and within one.
fn pattern(len: usize) -> Vec<u8> {
    (0u32..).flat_map(|word| word.wrapping_mul(2_654_435_761).to_be_bytes()).take(len).collect()
}

struct Arrived {
    from: SocketAddr,
    data: Vec<u8>,
    stamped: bool,
}

fn receive(port: &UdpPort, expected: usize) -> (Vec<Arrived>, usize) {
    let mut batch = RecvBatch::new();
    let (mut arrived, mut buffers) = (Vec::new(), 0);
    while arrived.len() < expected {
        assert!(port.readable(PATIENCE).expect("poll"), "only {} arrived", arrived.len());
        buffers += port.recv_batch(&mut batch).expect("readable");
        arrived.extend(batch.segments_mut().map(|segment| Arrived {
            from: segment.from,
            data: segment.data.to_vec(),
            stamped: segment.arrived_ns.is_some(),
        }));
    }
    (arrived, buffers)
}

fn assert_cut(arrived: &[Arrived], train: &[u8], segment_len: usize) {
    let expected: Vec<&[u8]> = train.chunks(segment_len).collect();
    assert_eq!(arrived.len(), expected.len());
    for (arrived, expected) in arrived.iter().zip(expected) {
        assert_eq!(arrived.data, expected);
    }
}

#[test]
fn a_train_arrives_merged_and_is_split_as_it_was_cut() {
    let (sender, receiver) = (port("127.0.0.1:0"), port("127.0.0.1:0"));
    let train = pattern(1445 * 200 + 700);

    let sent = sender.send_train(receiver.local_addr(), 1445, &train).expect("sends");
    assert_eq!(sent, Sent { datagrams: 201, left: 0, failed: 0 });

    let (arrived, buffers) = receive(&receiver, 201);
    assert_cut(&arrived, &train, 1445);
    assert!(arrived.iter().all(|datagram| datagram.from == sender.local_addr()));
    assert!(arrived.iter().all(|datagram| datagram.stamped));
    if receiver.merges_on_receive() && sender.segments_on_send(receiver.local_addr()) {
        assert!(buffers < 10, "201 datagrams came in {buffers} buffers");
    }
}

#[test]
fn without_offload_the_same_datagrams_arrive() {
    let (sender, receiver) = (port("127.0.0.1:0"), port("127.0.0.1:0"));
    sender.disable_segmentation();
    assert!(!sender.segments_on_send(receiver.local_addr()));
    let train = pattern(1200 * 150 + 1);

    let sent = sender.send_train(receiver.local_addr(), 1200, &train).expect("sends");
    assert_eq!(sent.datagrams, 151);
    assert_cut(&receive(&receiver, 151).0, &train, 1200);
}

#[test]
fn ipv6_carries_trains() {
    let (sender, receiver) = (port("[::1]:0"), port("[::1]:0"));
    let train = pattern(1408 * 90);

    let sent = sender.send_train(receiver.local_addr(), 1408, &train).expect("sends");
    assert_eq!(sent.datagrams, 90);
    let (arrived, _) = receive(&receiver, 90);
    assert_cut(&arrived, &train, 1408);
    assert_eq!(arrived[0].from, sender.local_addr());
}

#[test]
fn a_wildcard_port_speaks_ipv4_and_names_its_peers_plainly() {
    let (any, four) = (port("[::]:0"), port("127.0.0.1:0"));
    let to_any = SocketAddr::from(([127, 0, 0, 1], any.local_addr().port()));

    assert_eq!(four.send_train(to_any, 100, &[1; 300]).expect("sends").datagrams, 3);
    let (arrived, _) = receive(&any, 3);
    assert!(arrived.iter().all(|datagram| datagram.from == four.local_addr()));
    assert_eq!(any.send_train(arrived[0].from, 100, &[2; 250]).expect("sends").datagrams, 3);
    let (answer, _) = receive(&four, 3);
    assert_eq!(answer[2].data, [2; 50]);
    assert_eq!(answer[0].from, to_any);
}

#[test]
fn several_trains_of_mixed_sizes_leave_in_one_call() {
    let (sender, near, far) = (port("127.0.0.1:0"), port("127.0.0.1:0"), port("127.0.0.1:0"));
    let data = pattern(60_000);
    let trains = [
        Train { to: near.local_addr(), segment_len: 1408, data: &data[..14_080] },
        Train { to: far.local_addr(), segment_len: 64, data: &data[..6_401] },
        Train { to: near.local_addr(), segment_len: 1408, data: &[] },
        Train { to: near.local_addr(), segment_len: 21, data: &data[..21] },
        Train { to: near.local_addr(), segment_len: 20_000, data: &data },
    ];

    let sent = sender.send_many(&trains).expect("lengths are in range");
    assert_eq!(sent, Sent { datagrams: 10 + 101 + 1 + 3, left: 0, failed: 0 });

    let (arrived, _) = receive(&near, 14);
    assert_cut(&arrived[..10], trains[0].data, 1408);
    assert_cut(&arrived[10..11], trains[3].data, 21);
    assert_cut(&arrived[11..], &data, 20_000);
    assert_cut(&receive(&far, 101).0, trains[1].data, 64);
}

#[test]
fn a_refused_train_does_not_hold_up_the_others() {
    let (sender, receiver) = (port("127.0.0.1:0"), port("127.0.0.1:0"));
    let port_zero = SocketAddr::from(([127, 0, 0, 1], 0));
    let data = pattern(3000);
    let trains = [
        Train { to: port_zero, segment_len: 1000, data: &data },
        Train { to: receiver.local_addr(), segment_len: 1000, data: &data },
    ];

    let sent = sender.send_many(&trains).expect("lengths are in range");
    assert_eq!(sent, Sent { datagrams: 3, left: 0, failed: 3 });
    assert_cut(&receive(&receiver, 3).0, &data, 1000);
    sender.send_train(port_zero, 1000, &data).expect_err("nothing listens at port 0");
    assert!(sender.segments_on_send(receiver.local_addr()), "a bad address is no refusal");
}

#[test]
fn an_empty_port_would_block() {
    let receiver = port("127.0.0.1:0");
    let error = receiver.recv_batch(&mut RecvBatch::new()).expect_err("nothing was sent");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert!(receiver.writable(PATIENCE).expect("poll"));
    assert!(!receiver.readable(Some(Duration::ZERO)).expect("poll"));
}
