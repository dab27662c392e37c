//! Two machines with one key and one index, as after somebody copied a virtual machine, and a site that
//! both of them call.

use super::sites::{Home, Site, until};
use std::collections::BTreeSet;
use std::time::Duration;

fn contents(site: &Site) -> BTreeSet<Vec<u8>> {
    site.tree().into_values().collect()
}

/// spec: S-147
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_with_one_key_lose_nothing_and_everybody_says_that_they_are_two() {
    let (hub, home) = (Home::new(), Home::new());
    let (hub_id, id) = (hub.identity.id(), home.identity.id());
    let hub = hub.start(&[(id, None)]);
    let peers = [(hub_id, Some(hub.addr()))];
    let one = home.start(&peers);
    one.write("before", "before");
    one.write("both", "of old");
    until("what was there", &[&one, &hub], || hub.tree().len() == 2).await;
    let home = one.stop().await;
    let copy = home.copy();
    let (one, other) = (home.start(&peers), copy.start(&peers));
    // Both give the same numbers: to the same path, and to others.
    one.write("both", "of one");
    other.write("both", "of the other");
    for n in 0..5 {
        one.write(&format!("one {n}"), &format!("one {n}"));
        other.write(&format!("other {n}"), &format!("other {n}"));
    }
    let all = [&one, &other, &hub];
    until("all have everything", &all, || {
        all.iter().all(|site| contents(site).len() == 13 && site.tree() == hub.tree())
    })
    .await;
    for site in all {
        let contents = contents(site);
        for said in ["before", "of one", "of the other", "one 4", "other 4"] {
            assert!(contents.contains(said.as_bytes()), "{said}");
        }
    }
    let (mut seen, mut seen_by_hub) = (false, false);
    for _ in 0..1000 {
        let here = one.has_trouble("another machine may have the key of this site").await;
        let there = other.has_trouble("another machine may have the key of this site").await;
        seen |= here || there;
        seen_by_hub |= hub.has_trouble("a peer is there twice").await;
        if seen && seen_by_hub {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(seen, "one of the two says it");
    assert!(seen_by_hub, "who they call says it");
    // And what is edited afterwards goes on.
    one.write("both", "of one again");
    until("the next edit", &all, || {
        all.iter().all(|site| contents(site).contains(&b"of one again"[..]))
    })
    .await;
    for site in [one, other, hub] {
        site.stop().await;
    }
}
