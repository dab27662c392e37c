//! A path that a member gives as many versions as there may be, and more.

use super::*;
use farhaul_sync::folder::Index as _;

/// Before copies were named once for a message and without reading all versions for each, the third
/// hundred took more than half a minute.
const BOUND: Duration = Duration::from_secs(100);

fn crowd(serial: u64) -> Record {
    let content = crate::sample::file(&serial.to_be_bytes());
    Record { path: path("crowded"), version: version(dot(2, serial), &[], content) }
}

#[test]
fn a_path_that_is_given_1100_versions_does_not_keep_the_loop_for_minutes() {
    let mut bench = Bench::new();
    let began = Instant::now();
    for message in 0..10_u64 {
        let at = Instant::now();
        bench.say_all(&(1..=100).map(|n| crowd(message * 100 + n)).collect::<Vec<_>>());
        println!("hundred {}: {:.2} s", message + 1, at.elapsed().as_secs_f64());
    }
    // Also where each comes alone.
    let at = Instant::now();
    (1001..=1010).for_each(|serial| bench.say_all(&[crowd(serial)]));
    println!("ten alone: {:.2} s", at.elapsed().as_secs_f64());
    bench.say_all(&(1011..=1100).map(crowd).collect::<Vec<_>>());
    assert_eq!(bench.item("crowded").versions.iter().count(), 1024);
    let counting = bench.folder().index.begin(crate::index::Durability::Later).unwrap();
    assert_eq!(counting.aside_count().unwrap(), 76);
    drop(counting);
    let at = Instant::now();
    bench.folder().tick();
    println!("a tick: {:.2} s", at.elapsed().as_secs_f64());
    // One that has seen them all ends it, and what waited is forgotten.
    let mut last = crowd(1101);
    last.version.context.insert_run(dot(2, 1).author, 1, 1100);
    let at = Instant::now();
    bench.say_all(&[last.clone()]);
    println!("the last: {:.2} s", at.elapsed().as_secs_f64());
    assert_eq!(bench.item("crowded").versions.iter().count(), 1);
    bench.folder().tick();
    let counting = bench.folder().index.begin(crate::index::Durability::Later).unwrap();
    assert_eq!(counting.aside_count().unwrap(), 0);
    drop(counting);
    bench.folder().index.check().unwrap();
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
}
