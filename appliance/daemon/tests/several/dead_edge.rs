//! Three sites, each of which shares with both others, and a way between two of them that carries
//! nothing any more in one direction.

use super::sites::{Home, until};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Passes datagrams on between one caller and one site, until it is told to drop those of the caller.
struct Way {
    front: SocketAddr,
    is_deaf: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Way {
    fn to(site: SocketAddr) -> Self {
        let bind = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
            Arc::new(socket)
        };
        let (front, back) = (bind(), bind());
        back.connect(site).expect("on loopback");
        let addr = front.local_addr().expect("bound");
        let (is_deaf, is_over) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let caller: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        for is_there in [true, false] {
            let (front, back, caller) = (front.clone(), back.clone(), Arc::clone(&caller));
            let (is_deaf, is_over) = (Arc::clone(&is_deaf), Arc::clone(&is_over));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !is_over.load(Ordering::Relaxed) {
                    if !is_there {
                        let Ok(len) = back.recv(&mut buffer) else { continue };
                        if let Some(caller) = *caller.lock().expect("not poisoned") {
                            let _ = front.send_to(&buffer[..len], caller);
                        }
                        continue;
                    }
                    let Ok((len, from)) = front.recv_from(&mut buffer) else { continue };
                    *caller.lock().expect("not poisoned") = Some(from);
                    if !is_deaf.load(Ordering::Relaxed) {
                        let _ = back.send(&buffer[..len]);
                    }
                }
            });
        }
        Self { front: addr, is_deaf, is_over }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_sites_cannot_tell_each_other_goes_through_the_third() {
    let homes = [Home::new(), Home::new(), Home::new()];
    let [a, b, c] = [&homes[0], &homes[1], &homes[2]].map(|home| home.identity.id());
    let [home_a, home_b, home_c] = homes;
    let site_c = home_c.start(&[(a, None), (b, None)]);
    let way = Way::to(site_c.addr());
    let site_b = home_b.start(&[(a, None), (c, Some(site_c.addr()))]);
    let site_a = home_a.start(&[(b, Some(site_b.addr())), (c, Some(way.front))]);
    let all = [&site_a, &site_b, &site_c];
    site_a.write("kept", "as it was");
    site_a.write("gone", "to be deleted");
    until("what was there", &all, || all.iter().all(|site| site.tree().len() == 2)).await;

    // From here on nothing of A reaches C, and what C says reaches A.
    way.is_deaf.store(true, Ordering::Relaxed);
    let large: String = "0123456789abcdef".repeat(64 << 10);
    site_a.write("of a", "a");
    site_a.write("large", &large);
    site_c.write("of c", "c");
    site_b.write("of b", "b");
    fs::remove_file(site_a.at("gone")).expect("removed");
    site_c.write("kept", "edited at c");
    until("all of it is everywhere", &all, || {
        let tree = site_b.tree();
        let names: Vec<&str> = tree.keys().map(String::as_str).collect();
        names == ["kept", "large", "of a", "of b", "of c"]
            && tree["kept"] == b"edited at c"
            && all.iter().all(|site| site.tree() == tree)
    })
    .await;

    // And what was told on both ways is no conflict once there are two again.
    way.is_deaf.store(false, Ordering::Relaxed);
    site_a.write("kept", "edited at a");
    until("the way is there again", &all, || {
        all.iter().all(|site| site.tree().len() == 5 && site.tree()["kept"] == b"edited at a")
    })
    .await;
    for site in [site_a, site_b, site_c] {
        site.stop().await;
    }
}
