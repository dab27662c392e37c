//! A file spreads from one site to others over a star: it ends right at each of them, also where a link
//! goes down for a while.

use farhaul_netem_tests::content::{assert_same, bytes};
use farhaul_netem_tests::star::star8;
use farhaul_netem_tests::{Star, StarSites, require};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn an_image_comes_whole_to_every_site_of_a_star_though_a_link_goes_down_meanwhile() {
    let test = "an_image_comes_whole_to_every_site_of_a_star_though_a_link_goes_down_meanwhile";
    let profile = star8().first(4).expect("it has nine");
    let star = require!(test, Star::start(&profile, 1));
    let dir = tempfile::tempdir().expect("a directory");
    let sites = StarSites::start(&star, dir.path()).expect("they meet");
    fs::write(sites.at(0, "image"), bytes(1, 6 << 20)).expect("written");
    let before = star.status().expect("a running star");
    sites.distribute("golden", "image").expect("it is accepted");
    star.interrupt("b", Duration::from_secs(1)).expect("a running star");
    let began = Instant::now();
    loop {
        let job = sites.show("golden").expect("it answers");
        if job["state"] == "done" {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{job:#}");
        thread::sleep(Duration::from_millis(200));
    }
    for target in 1..4 {
        assert_same(&sites.at(0, "image"), &sites.at(target, "image"));
    }
    // The emulated links brought it: at least the image came to each site, and once from the source.
    let after = star.status().expect("a running star");
    for (was, is) in before.sites.iter().zip(&after.sites).skip(1) {
        assert!(is.down.delivered_bytes - was.down.delivered_bytes > 6 << 20, "{is:?}");
    }
    assert!(after.sites[0].up.wire_bytes - before.sites[0].up.wire_bytes > 6 << 20);
}
