//! The control channel over loopback: two sites, each with one thread that owns its port and sorts
//! what arrives.
#![allow(missing_docs, reason = "a test")]

#[path = "kit/sites.rs"]
mod kit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use farhaul_engine::control::{
    CLOSE_NOT_ALLOWED, ControlConnection, ControlError, ControlReceiver, ControlSender,
    STREAM_ABANDONED, Side,
};
use farhaul_engine::seal::{LaneSecrets, OpenError};
use farhaul_proto::ids::PacketNumber;
use farhaul_proto::limits::PACKETS_PER_EPOCH;
use kit::{Site, accept, foreign_packet, identity, only};

/// A client, a server that allows it, and the connection between them from both ends.
async fn connected() -> (Site, Site, ControlConnection, ControlConnection) {
    let (client, server) = (identity(), identity());
    let allow = only(client.id());
    let client = Site::start(&client, "127.0.0.1:0", None);
    let server = Site::start(&server, "127.0.0.1:0", allow);
    let (ours, theirs) =
        tokio::join!(client.control.connect(server.addr(), server.id), accept(&server),);
    (client, server, ours.expect("allowed"), theirs.expect("open"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_know_whom_they_talk_to() {
    let (client, server, ours, theirs) = connected().await;
    assert_eq!((ours.peer, ours.side, ours.addr), (server.id, Side::Client, server.addr()));
    assert_eq!((theirs.peer, theirs.side, theirs.addr), (client.id, Side::Server, client.addr()));
    assert_eq!((ours.local(), theirs.local()), (client.id, server.id));
    assert!(ours.rtt() < Duration::from_secs(1));
    assert_eq!(server.control.counts().admitted, 1);

    theirs.close(7, "enough\n of it");
    match ours.closed().await {
        ControlError::ClosedByPeer { code: 7, reason } => assert_eq!(reason, "enough of it"),
        other => panic!("{other}"),
    }
    assert!(matches!(theirs.closed().await, ControlError::ClosedHere));
    client.stop().await;
    server.stop().await;
}

fn check_direction(from: &LaneSecrets, to: &LaneSecrets) {
    assert_eq!(from.send.tag(), to.recv.tag());
    let (mut seal, mut open) = (from.send.seal_key(), to.recv.open_key());
    for number in [0, 1, PACKETS_PER_EPOCH - 1, PACKETS_PER_EPOCH] {
        let (mut packet, mut tag) = (b"payload".to_vec(), [0; 16]);
        let number = PacketNumber::new(number);
        seal.seal_in_place(number, b"header", &mut packet, &mut tag).expect("fresh");
        packet.extend(tag);
        let mut forged = packet.clone();
        forged[3] ^= 1;
        let refused = open.open_in_place(number, 0, b"header", &mut forged);
        assert_eq!(refused.err(), Some(OpenError::Forged));
        let opened = open.open_in_place(number, 0, b"header", &mut packet).expect("authentic");
        assert_eq!(opened, b"payload");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_derive_the_same_lane_keys_and_every_lane_and_session_has_its_own() {
    let (client, server, ours, theirs) = connected().await;
    let mut tags = Vec::new();
    for lane in [0, 1, 255] {
        let (left, right) = (ours.lane_secrets(lane), theirs.lane_secrets(lane));
        let (left, right) = (left.expect("open"), right.expect("open"));
        check_direction(&left, &right);
        check_direction(&right, &left);
        tags.extend([left.send.tag(), left.recv.tag()]);
    }
    let (again, _theirs) =
        tokio::join!(client.control.connect(server.addr(), server.id), accept(&server),);
    tags.push(again.expect("allowed").lane_secrets(0).expect("open").send.tag());
    let count = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), count);
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_key_is_refused_and_named() {
    let (client, server, expected) = (identity(), identity(), identity());
    let allow = only(client.id());
    let client = Site::start(&client, "127.0.0.1:0", None);
    let server = Site::start(&server, "127.0.0.1:0", allow);

    let error = client.control.connect(server.addr(), expected.id()).await.expect_err("wrong key");

    match error {
        ControlError::WrongIdentity { expected: wanted, found } => {
            assert_eq!((wanted, found), (expected.id(), server.id));
        }
        other => panic!("{other}"),
    }
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_not_allowed_is_refused_and_never_accepted() {
    let (stranger, friend, server) = (identity(), identity(), identity());
    let allow = only(friend.id());
    let stranger = Site::start(&stranger, "127.0.0.1:0", None);
    let friend = Site::start(&friend, "127.0.0.1:0", None);
    let server = Site::start(&server, "127.0.0.1:0", allow);

    // A TLS 1.3 client is done before it was judged: the refusal may come with the first use.
    let error = match stranger.control.connect(server.addr(), server.id).await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert!(matches!(error, ControlError::Refused { addr } if addr == server.addr()), "{error}");

    let (ours, theirs) =
        tokio::join!(friend.control.connect(server.addr(), server.id), accept(&server),);
    ours.expect("allowed");
    assert_eq!(theirs.expect("open").peer, friend.id, "the stranger was not in the queue");
    assert_eq!(server.control.counts().unwelcome, 1);
    for site in [stranger, friend, server] {
        site.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_loses_its_permission_learns_why() {
    let (client, server, ours, theirs) = connected().await;
    theirs.close(CLOSE_NOT_ALLOWED, "removed from the roster");
    assert!(matches!(ours.closed().await, ControlError::Refused { .. }));
    client.stop().await;
    server.stop().await;
}

/// The server is killed: nothing is said to its peers. After its restart, the first packet of a
/// peer tells that peer that the connection is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_learns_of_a_restart_from_the_first_packet_it_sends() {
    let (client, identity) = (identity(), identity());
    let doomed = tokio::runtime::Runtime::new().expect("a runtime");
    let allow = only(client.id());
    let mut server = Site::start_on(&identity, "127.0.0.1:0", allow, doomed.handle().clone());
    let addr = server.addr();
    let client = Site::start(&client, "127.0.0.1:0", None);
    let (ours, theirs) = tokio::join!(client.control.connect(addr, server.id), accept(&server),);
    let (ours, theirs) = (ours.expect("allowed"), theirs.expect("open"));
    let (mut sender, _receiver) = ours.open_stream().await.expect("open");
    doomed.shutdown_background();
    server.kill();
    drop((server, theirs));

    let server = Site::start(&identity, &addr.to_string(), only(client.id));
    sender.send(b"are you there?").await.expect("queued");

    let ended = tokio::time::timeout(Duration::from_secs(5), ours.closed()).await;
    assert!(matches!(ended, Ok(ControlError::Reset)), "{ended:?}");
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_accepts_nobody_accepts_nobody() {
    let site = Site::start(&identity(), "127.0.0.1:0", None);
    assert!(site.control.accept().await.is_none());
    let error = site.control.connect(SocketAddr::from(([127, 0, 0, 1], 0)), site.id).await;
    assert!(matches!(error, Err(ControlError::Address { .. })));
    site.stop().await;
}

async fn send_all(sender: &mut ControlSender, messages: &[Vec<u8>]) {
    for message in messages {
        sender.send(message).await.expect("open");
    }
    sender.finish().expect("finished once");
}

async fn recv_all(receiver: &mut ControlReceiver) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(message) = receiver.recv().await.expect("well-formed") {
        messages.push(message);
    }
    messages
}

/// 1 MiB in messages of very different lengths.
fn messages(seed: u8) -> Vec<Vec<u8>> {
    let lengths = [1, 3, 4, 1199, 1200, 65_536, 262_144, 700_000];
    let rest = (1 << 20) - lengths.iter().sum::<usize>();
    lengths.into_iter().chain([rest]).zip(seed..).map(|(len, byte)| vec![byte; len]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_both_ways_among_foreign_packets_and_none_is_misrouted() {
    let (client, server, ours, theirs) = connected().await;
    let (from_client, from_server) = (messages(1), messages(100));
    let foreign = foreign_packet().repeat(20);
    let flood = async |from: &Site, to: &Site| {
        for _ in 0..50 {
            let sent = from.port.send_train(to.addr(), 1200, &foreign).expect("sends");
            assert_eq!(sent.datagrams, 20);
            tokio::task::yield_now().await;
        }
    };
    let client_side = async {
        let (mut send, mut recv) = ours.open_stream().await.expect("open");
        let (_, seen) = tokio::join!(send_all(&mut send, &from_client), recv_all(&mut recv));
        seen
    };
    let server_side = async {
        let (mut send, mut recv) = theirs.accept_stream().await.expect("open");
        let (_, seen) = tokio::join!(send_all(&mut send, &from_server), recv_all(&mut recv));
        seen
    };

    let (seen_by_client, seen_by_server, _, _) =
        tokio::join!(client_side, server_side, flood(&client, &server), flood(&server, &client));

    assert!(seen_by_client == from_server, "what the server sent");
    assert!(seen_by_server == from_client, "what the client sent");
    let both = client.control.socket();
    assert!(both.sent().get() > 1 << 20, "the bytes of the control channel are counted");
    assert!(both.received().get() > 1 << 20);
    let (at_client, at_server) =
        (Arc::clone(&client.lane_packets), Arc::clone(&server.lane_packets));
    client.stop().await;
    server.stop().await;
    assert_eq!(at_client.load(Ordering::Relaxed) + at_server.load(Ordering::Relaxed), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_beyond_the_limit_is_refused_before_it_is_sent() {
    let (client, server, ours, theirs) = connected().await;
    let (mut send, _recv) = ours.open_stream().await.expect("open");
    let error = send.send(&vec![0; (16 << 20) + 1]).await.expect_err("too long");
    assert!(matches!(error, ControlError::Length { len } if len == (16 << 20) + 1));
    let error = send.send(b"").await.expect_err("empty");
    assert!(matches!(error, ControlError::Length { len: 0 }));
    send.send(b"short").await.expect("the stream is as before");
    let (_send, mut recv) = theirs.accept_stream().await.expect("open");
    assert_eq!(recv.recv().await.expect("well-formed"), Some(b"short".to_vec()));
    send.abort(9);
    let error = recv.recv().await.expect_err("given up");
    assert!(matches!(error, ControlError::StreamAborted { code: 9 }), "{error}");
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_from_strangers_and_in_the_peers_name_disturbs_nobody() {
    let (client, server, ours, theirs) = connected().await;
    let noise: Vec<u8> =
        (0u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).take(8192).collect();
    let stranger = SocketAddr::from(([192, 0, 2, 1], 9));
    for first in 0..=u8::MAX {
        for len in [0, 1, 20, 21, 60, 1199, 1200, 1472, 1501] {
            let mut datagram = noise[usize::from(first)..][..len].to_vec();
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            for from in [stranger, client.addr()] {
                server.control.socket().deliver(from, first & 3, &datagram);
            }
        }
    }
    assert!(server.control.socket().dropped() >= 512, "what is too long is dropped");
    let (mut send, _recv) = ours.open_stream().await.expect("open");
    send.send(b"still here").await.expect("open");
    let (_send, mut recv) = theirs.accept_stream().await.expect("open");
    assert_eq!(recv.recv().await.expect("well-formed"), Some(b"still here".to_vec()));
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_dropped_half_way_ends_its_stream_and_blames_nobody_else() {
    let (client, server, ours, theirs) = connected().await;
    let (mut send, _recv) = ours.open_stream().await.expect("open");
    let long = vec![1; 16 << 20];
    tokio::select! {
        biased;
        _ = send.send(&long) => panic!("16 MiB do not fit into the windows"),
        () = std::future::ready(()) => {}
    }
    assert!(matches!(send.send(b"next").await, Err(ControlError::HalfSent)));
    let (_send, mut recv) = theirs.accept_stream().await.expect("open");
    drop(send);
    let error = recv.recv().await.expect_err("the message never ends");
    assert!(
        matches!(error, ControlError::StreamAborted { code } if code == u64::from(STREAM_ABANDONED)),
        "{error}"
    );
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_where_nobody_answers_is_unreachable() {
    let site = Site::start(&identity(), "127.0.0.1:0", None);
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let addr = silent.local_addr().expect("bound");
    let attempt = site.control.connect_within(addr, site.id, Duration::from_millis(50)).await;
    match attempt.expect_err("nobody is there") {
        ControlError::Unreachable { addr: asked, .. } => assert_eq!(asked, addr),
        other => panic!("{other}"),
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_at_once_than_the_burst_prove_their_address_and_get_in() {
    let (client, server) = (identity(), identity());
    let allow = only(client.id());
    let client = Site::start(&client, "127.0.0.1:0", None);
    let server = Site::start(&server, "127.0.0.1:0", allow);
    let connect = || client.control.connect(server.addr(), server.id);
    let (a, b, c, d, e, f, g) =
        tokio::join!(connect(), connect(), connect(), connect(), connect(), connect(), connect());
    for outcome in [a, b, c, d, e, f, g] {
        outcome.expect("within the burst, or proven");
    }
    assert_eq!(server.control.counts().refused, 0);
    assert_eq!(server.control.counts().admitted, 7);
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dual_stack_port_and_an_ipv4_port_find_each_other() {
    let (client, server) = (identity(), identity());
    let allow = only(client.id());
    let client = Site::start(&client, "127.0.0.1:0", None);
    let server = Site::start(&server, "[::]:0", allow);
    let (ours, theirs) =
        tokio::join!(client.control.connect(server.addr(), server.id), accept(&server),);
    ours.expect("allowed");
    assert_eq!(theirs.expect("open").addr, client.addr());
    client.stop().await;
    server.stop().await;
}
