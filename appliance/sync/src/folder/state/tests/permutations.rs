//! S-40: every way in which three sites do something to one file at once, hear of it, and one of them
//! stops or loses its index between any two steps. Power cuts between the steps of one commit are the
//! business of the store, which is cut at each (`farhauld::store`).

use super::*;

/// What a user does to the file.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Edit,
    Delete,
    /// To a name that the others may choose as well.
    Rename,
}

const DEEDS: [Deed; 3] = [Deed::Edit, Deed::Delete, Deed::Rename];

impl World {
    fn do_to_g(&mut self, at: usize, deed: Deed) {
        match deed {
            Deed::Edit => self.take(&Step::Write(at, 6)),
            Deed::Delete => self.take(&Step::Delete(at, 6)),
            Deed::Rename => self.rename_path(at, "g", "h"),
        }
        self.check();
    }
}

/// All look, all tell all others, all act; each of it in one order.
fn steps(order: [usize; SITES]) -> Vec<Step> {
    let tells = order.map(|from| others(from).map(move |to| Step::Tell { from, to }));
    let tells = tells.into_iter().flatten();
    order.map(Step::Scan).into_iter().chain(tells).chain(order.map(Step::Act)).collect()
}

fn run(before: &[Step], deeds: [Deed; SITES], steps: &[Step]) {
    let mut world = settled(before);
    (0..SITES).zip(deeds).for_each(|(at, deed)| world.do_to_g(at, deed));
    take(&mut world, steps);
    world.quiesce();
    assert_alike(&world);
    let shown = contents(&world);
    for content in world.written.difference(&world.seen_off()) {
        let is_kept = world.sites.iter().any(|site| site.forgot && site.aside.contains(content));
        assert!(is_kept || shown.contains(content), "{content:?} is seen by nobody");
    }
}

fn contents(world: &World) -> BTreeSet<Content> {
    world.visible(0).into_values().map(|(content, _)| content).collect()
}

#[test]
fn whatever_three_sites_do_to_a_file_and_whoever_stops_amid_it_nothing_is_lost() {
    let mut count = 0;
    for code in 0..27 {
        let deeds = [code / 9, code / 3 % 3, code % 3].map(|deed: usize| DEEDS[deed]);
        for order in ORDERS {
            let steps = steps(order);
            for stop in 0..=steps.len() {
                let at = order[stop % SITES];
                let fault = if stop % 2 == 0 { Step::Restart(at) } else { Step::Forget(at) };
                let (before, after) = steps.split_at(stop);
                let steps: Vec<Step> =
                    before.iter().cloned().chain([fault]).chain(after.iter().cloned()).collect();
                run(&[Step::Write(0, 6)], deeds, &steps);
                count += 1;
            }
        }
    }
    assert_eq!(count, 27 * 6 * 13);
}
