//! Datagrams of the control channel that are sent again: over a relay that loses every original, and
//! to an address that proves nothing.
#![allow(missing_docs, reason = "a test")]

#[path = "kit/sites.rs"]
mod kit;

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use farhaul_engine::control::{ControlReceiver, ControlSender};
use kit::{Site, accept, identity, only};

fn loopback_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("not zero");
    socket
}

fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2048];
    socket.recv_from(&mut buffer).ok().map(|(len, from)| (buffer[..len].to_vec(), from))
}

/// Stands between a client and a server and loses the first of every datagram: only copies pass.
struct Relay {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    fn start(server: SocketAddr) -> Self {
        let (front, back) = (Arc::new(loopback_socket()), Arc::new(loopback_socket()));
        let addr = front.local_addr().expect("bound");
        let stop = Arc::<AtomicBool>::default();
        let client = Arc::<OnceLock<SocketAddr>>::default();
        let there = std::thread::spawn({
            let (front, back, client) =
                (Arc::clone(&front), Arc::clone(&back), Arc::clone(&client));
            let stop = Arc::clone(&stop);
            move || {
                pass_copies(&front, &stop, |datagram, from| {
                    client.get_or_init(|| from);
                    back.send_to(datagram, server).expect("loopback takes it");
                });
            }
        });
        let home = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                pass_copies(&back, &stop, |datagram, _| {
                    let client = client.get().expect("the server only answers");
                    front.send_to(datagram, client).expect("loopback takes it");
                });
            }
        });
        Self { addr, stop, threads: vec![there, home] }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the relay passed what came twice");
        }
    }
}

fn pass_copies(from: &UdpSocket, stop: &AtomicBool, pass: impl Fn(&[u8], SocketAddr)) {
    let mut seen = HashSet::new();
    while !stop.load(Ordering::Relaxed) {
        let Some((datagram, addr)) = receive(from) else { continue };
        if !seen.insert(datagram.clone()) {
            pass(&datagram, addr);
        }
    }
}

/// The first packets of `count` attempts to connect, each complete in itself.
async fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let silent = loopback_socket();
    let addr = silent.local_addr().expect("bound");
    let mut client = Site::start(&identity(), "127.0.0.1:0", None);
    let moment = Duration::from_millis(20);
    for _ in 0..count {
        let attempt = client.control.connect_within(addr, client.id, moment).await;
        assert!(attempt.is_err(), "nobody is there");
    }
    let mut packets = Vec::<Vec<u8>>::new();
    while packets.len() < count {
        let (datagram, _) = receive(&silent).expect("every attempt sent one");
        // Its end and its copies have the same id, which stands behind the length byte.
        if packets.iter().all(|known| known[5..14] != datagram[5..14]) {
            packets.push(datagram);
        }
    }
    client.kill();
    packets
}

async fn exchange(
    (sender, receiver): (&mut ControlSender, &mut ControlReceiver),
    sends_first: bool,
    round: u8,
) {
    let message = [round; 100];
    if sends_first {
        sender.send(&message).await.expect("open");
    }
    assert_eq!(receiver.recv().await.expect("well-formed"), Some(message.to_vec()));
    if !sends_first {
        sender.send(&message).await.expect("open");
    }
}

/// What QUIC sends again by itself is a new datagram with a new packet number, so nothing but copies
/// can carry this. `spec: W-007`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_completes_where_the_original_of_every_datagram_is_lost() {
    let (client, server) = (identity(), identity());
    let allow = only(client.id());
    let client = Site::start(&client, "127.0.0.1:0", None);
    let server = Site::start(&server, "127.0.0.1:0", allow);
    let relay = Relay::start(server.addr());

    let ours = client.control.connect(relay.addr, server.id).await.expect("copies arrive");
    let theirs = accept(&server).await.expect("open");
    let client_side = async {
        let (mut send, mut recv) = ours.open_stream().await.expect("open");
        for round in 0..10 {
            exchange((&mut send, &mut recv), true, round).await;
        }
    };
    let server_side = async {
        let (mut send, mut recv) = theirs.accept_stream().await.expect("open");
        for round in 0..10 {
            exchange((&mut send, &mut recv), false, round).await;
        }
    };
    tokio::join!(client_side, server_side);

    assert_eq!(server.control.counts().admitted, 1);
    client.stop().await;
    server.stop().await;
    relay.stop();
}

/// The answers, their copies and what QUIC sends after its first timer must all fit. `spec: W-007`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_proves_nothing_is_sent_at_most_three_times_what_came_from_it() {
    let mut server = Site::start(&identity(), "127.0.0.1:0", only(identity().id()));
    let first = first_packets(1).await.remove(0);
    let forged = loopback_socket();
    forged.send_to(&first, server.addr()).expect("loopback takes it");

    let (mut sent, mut distinct) = (Vec::new(), HashSet::new());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        if let Some((datagram, _)) = receive(&forged) {
            sent.push(datagram.len());
            distinct.insert(datagram);
        }
    }

    let total: usize = sent.iter().sum();
    assert!(total <= 3 * first.len(), "{sent:?}");
    assert!(distinct.len() < sent.len(), "there were copies: {sent:?}");
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copies_of_a_first_packet_are_one_attempt_also_when_it_was_turned_away() {
    let mut server = Site::start(&identity(), "127.0.0.1:0", only(identity().id()));
    let packets = first_packets(9).await;
    let (last, packets) = packets.split_last().expect("nine");
    let client = loopback_socket();
    for _ in 0..3 {
        for packet in packets {
            client.send_to(packet, server.addr()).expect("loopback takes it");
        }
        // Those that wait to be judged are one with their copies anyway.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.send_to(last, server.addr()).expect("loopback takes it");

    let judged = || {
        let counts = server.control.counts();
        counts.admitted + counts.retried + counts.refused
    };
    for _ in 0..1000 {
        if judged() < 9 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // Attempts are judged in order, so the last one was the last.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(judged(), 9);
    server.kill();
}
