//! How flows share the path of one session, in the virtual world: weights, classes, caps, pauses. Every
//! run also holds all rules of `farhaul_sim::check`.

use core::time::Duration;
use farhaul_proto::ids::{FlowId, ObjectId};
use farhaul_proto::shares::{Class, FlowPlan, Weight};
use farhaul_proto::units::{BitRate, Bytes, Ratio, Timestamp};
use farhaul_sim::report::Report;
use farhaul_sim::rng::Rng;
use farhaul_sim::scenario::{First, Scenario, Side, Step, cell, generate};
use farhaul_sim::world::{Sent, Speech, run, run_watched};

const RTT: Duration = Duration::from_millis(100);
const RATE: BitRate = BitRate::mbps(100);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn flow(id: u32) -> FlowId {
    FlowId::new(id)
}

fn plan(class: Class, weight: u16) -> FlowPlan {
    FlowPlan { class, weight: Weight::new(weight), ..FlowPlan::default() }
}

fn capped(mbps: u64) -> FlowPlan {
    FlowPlan { cap: Some(BitRate::mbps(mbps)), ..FlowPlan::default() }
}

fn paused(plan: FlowPlan) -> FlowPlan {
    FlowPlan { paused: true, ..plan }
}

/// One object for each flow, 1 and up, of so many MiB, at 100 Mbit/s, 100 ms and 1 % loss.
fn shared(flows: &[(FlowPlan, u64)]) -> Scenario {
    let lens: Vec<Bytes> = flows.iter().map(|&(_, mib)| Bytes::mib(mib)).collect();
    let mut scenario = Scenario::one_way("flows", 7, cell(RATE, RTT, 0.01), &lens);
    for (place, &(plan, _)) in flows.iter().enumerate() {
        let place = u32::try_from(place).unwrap();
        scenario.hosts[0].flows.insert(ObjectId::new(place), flow(place + 1));
        change(&mut scenario, 0, place + 1, plan);
    }
    scenario
}

fn change(scenario: &mut Scenario, ms: u64, id: u32, plan: FlowPlan) {
    let step = Step::Flow { side: Side::A, flow: flow(id), plan };
    scenario.steps.push((at(ms), step));
}

fn play(scenario: &Scenario) -> (Report, Vec<Sent>) {
    let (report, sent) = run_watched(scenario).unwrap_or_else(|failure| panic!("{failure}"));
    let all: Bytes = scenario.loads[0].iter().map(|load| load.len).sum();
    assert_eq!((report.abandoned.0, report.directions[0].bytes), (0, all), "something was lost");
    (report, sent)
}

/// Wire bytes of a flow from one time to another, in milliseconds.
fn bytes(sent: &[Sent], id: u32, from: u64, until: u64) -> u64 {
    let within = sent.iter().filter(|s| s.at >= at(from) && s.at < at(until));
    within.filter(|s| s.flow == flow(id)).map(|s| s.bytes.get()).sum()
}

fn share(sent: &[Sent], id: u32, from: u64, until: u64) -> f64 {
    let own = bytes(sent, id, from, until);
    let within = sent.iter().filter(|s| s.at >= at(from) && s.at < at(until));
    Ratio::of(own, within.map(|s| s.bytes.get()).sum()).get()
}

fn last(sent: &[Sent], id: u32) -> u64 {
    let own = sent.iter().filter(|s| s.flow == flow(id));
    own.map(|s| s.at.as_nanos() / 1_000_000).max().unwrap_or_default()
}

/// The most that left of a flow in any 200 ms.
fn most(sent: &[Sent], id: u32, from: u64, until: u64) -> u64 {
    let own: Vec<&Sent> = sent.iter().filter(|s| s.flow == flow(id)).collect();
    let own: Vec<_> = own.into_iter().filter(|s| s.at >= at(from) && s.at < at(until)).collect();
    let (mut first, mut sum, mut most) = (0, 0, 0);
    for next in &own {
        sum += next.bytes.get();
        while next.at.since(own[first].at) > Duration::from_millis(200) {
            sum -= own[first].bytes.get();
            first += 1;
        }
        most = most.max(sum);
    }
    most
}

#[test]
fn weights_hold_within_five_percent_over_any_two_seconds() {
    use Class::Normal;
    let scenario = shared(&[(plan(Normal, 5), 70), (plan(Normal, 3), 42), (plan(Normal, 1), 14)]);
    let (_, sent) = play(&scenario);
    let until = (1..=3).map(|id| last(&sent, id)).min().unwrap() - 500;
    assert!(until > 5_000, "too short to say anything");
    let mut worst: f64 = 0.0;
    for from in (500..until - 2_000).step_by(50) {
        for (id, weight) in [(1, 5.0), (2, 3.0), (3, 1.0)] {
            let fair = weight / 9.0;
            let off = (share(&sent, id, from, from + 2_000) - fair).abs() / fair;
            worst = worst.max(off);
        }
    }
    println!("worst share over 2 s: {:.2} % off", worst * 100.0);
    assert!(worst <= 0.05, "{worst}");
}

#[test]
fn what_a_flow_does_not_use_is_lent_at_once() {
    use Class::Normal;
    let mut scenario = shared(&[(plan(Normal, 1), 40), (plan(Normal, 3), 40)]);
    change(&mut scenario, 3_000, 2, paused(plan(Normal, 3)));
    change(&mut scenario, 4_000, 2, plan(Normal, 3));
    let (_, sent) = play(&scenario);
    let alone = bytes(&sent, 1, 3_020, 3_980);
    let before = bytes(&sent, 1, 1_900, 2_900) + bytes(&sent, 2, 1_900, 2_900);
    assert!(alone * 100 >= before * 93, "{alone} alone, {before} together");
    assert!(share(&sent, 2, 4_020, 5_000) > 0.70, "taken back at once");
}

#[test]
fn an_urgent_flow_takes_over_within_a_round_trip_and_20_ms() {
    let low = (plan(Class::Background, 100), 60);
    // Either it waits until it is let go, or it is declared in the midst of the other.
    let mut let_go = shared(&[low, (paused(plan(Class::Urgent, 1)), 20)]);
    change(&mut let_go, 3_000, 2, plan(Class::Urgent, 1));
    let mut declared = shared(&[low, (plan(Class::Urgent, 1), 20)]);
    declared.first = First::Source;
    declared.loads[0][1].at = at(3_000);
    let mut few = let_go.clone();
    (few.hosts[0].send_blocks, few.hosts[1].recv_blocks) = (6, 6);
    for scenario in [let_go, declared, few] {
        let (_, sent) = play(&scenario);
        let urgent = share(&sent, 2, 3_000 + 120, 3_800);
        println!("urgent has {:.1} %", urgent * 100.0);
        assert!(urgent >= 0.95, "{urgent}");
    }
}

#[test]
fn each_lower_class_has_its_floor_and_no_more() {
    use Class::{Background, Normal, Urgent};
    let flows = [(plan(Urgent, 1), 60), (plan(Normal, 1), 3), (plan(Background, 1), 3)];
    let (_, sent) = play(&shared(&flows));
    let until = last(&sent, 1) - 500;
    for id in [2, 3] {
        let floor = share(&sent, id, 1_000, until);
        println!("floor of flow {id}: {:.2} %", floor * 100.0);
        assert!((0.018..0.023).contains(&floor), "{floor}");
    }
}

#[test]
fn a_cap_holds_in_any_200_ms_and_is_reached() {
    let mut scenario = shared(&[(capped(20), 30), (plan(Class::Normal, 100), 60)]);
    change(&mut scenario, 3_000, 1, capped(5));
    change(&mut scenario, 4_500, 1, capped(40));
    let (_, sent) = play(&scenario);
    for (mbps, from, until) in [(20, 500, 3_000), (5, 3_010, 4_500), (40, 4_500, 6_000)] {
        let rate = BitRate::mbps(mbps);
        let window = rate.bytes_in(Duration::from_millis(200)).get();
        let most = most(&sent, 1, from, until);
        let reached = bytes(&sent, 1, from + 100, until);
        let span = rate.bytes_in(Duration::from_millis(until - from - 100)).get();
        println!("{mbps} Mbit/s: {most} of {window} in 200 ms, {reached} of {span} in all");
        assert!(most * 100 <= window * 102, "{most} of {window}");
        assert!(reached * 100 >= span * 97, "{reached} of {span}");
    }
}

#[test]
fn a_session_of_one_capped_flow_wakes_for_it() {
    let mut scenario = shared(&[(capped(10), 6)]);
    scenario.links[0].loss = farhaul_sim::profile::Loss::None;
    let (report, sent) = play(&scenario);
    let most = most(&sent, 1, 0, 60_000);
    assert!(most <= 255_000, "{most}");
    let elapsed = report.directions[0].elapsed;
    assert!(elapsed < Duration::from_millis(5_600), "{elapsed:?}");
}

#[test]
fn a_pause_is_at_once_and_loses_nothing() {
    let flows = [(plan(Class::Normal, 100), 30), (plan(Class::Normal, 100), 30)];
    let mut scenario = shared(&flows);
    change(&mut scenario, 1_500, 1, paused(flows[0].0));
    change(&mut scenario, 9_000, 1, flows[0].0);
    let (_, sent) = play(&scenario);
    assert_eq!(bytes(&sent, 1, 1_501, 9_000), 0, "it was paused");
    assert!(last(&sent, 2) < 9_000, "the other one has the path");
    assert!(last(&sent, 1) > 9_000);
}

#[test]
fn a_session_of_which_everything_is_paused_is_quiet_and_goes_on() {
    let mut scenario = shared(&[(plan(Class::Normal, 100), 20)]);
    change(&mut scenario, 1_000, 1, paused(plan(Class::Normal, 100)));
    change(&mut scenario, 20_000, 1, plan(Class::Normal, 100));
    let (report, sent) = play(&scenario);
    assert_eq!(bytes(&sent, 1, 1_001, 20_000), 0);
    assert!(last(&sent, 1) < 23_000, "{report}");
}

/// All buffers are with blocks of a flow that is paused: what was begun of it is finished, for else
/// the other could never begin.
#[test]
fn a_paused_flow_does_not_keep_others_from_beginning() {
    let flows = [(plan(Class::Normal, 100), 30), (plan(Class::Normal, 100), 20)];
    let mut scenario = shared(&flows);
    (scenario.hosts[0].send_blocks, scenario.hosts[1].recv_blocks) = (4, 4);
    scenario.first = First::Source;
    scenario.loads[0][1].at = at(2_500);
    change(&mut scenario, 2_000, 1, paused(flows[0].0));
    change(&mut scenario, 30_000, 1, flows[0].0);
    let (_, sent) = play(&scenario);
    assert!(last(&sent, 2) < 12_000, "{}", last(&sent, 2));
    assert_eq!(bytes(&sent, 1, 2_001, 2_500), 0);
    assert!(bytes(&sent, 1, 2_500, 30_000) < 4 << 20, "only what was begun");
}

/// Objects of two flows were declared in turns, so that what is complete is in very many pieces: the
/// receiver cannot name all of them in one report.
#[test]
fn flows_of_many_small_objects_in_turns_do_not_wait_for_each_other() {
    let lens = vec![Bytes::kib(40); 1_000];
    let mut scenario = Scenario::one_way("turns", 7, cell(RATE, RTT, 0.01), &lens);
    change(&mut scenario, 0, 1, plan(Class::Background, 100));
    change(&mut scenario, 0, 2, plan(Class::Urgent, 100));
    for object in 0..1_000 {
        let id = flow(1 + object % 2);
        scenario.hosts[0].flows.insert(ObjectId::new(object), id);
    }
    let (report, sent) = play(&scenario);
    let (low, high) = (last(&sent, 1), last(&sent, 2));
    println!("urgent is through after {high} ms, all after {low} ms");
    assert!(high * 100 < low * 65, "{high} and {low}, {report}");
}

#[test]
fn a_flow_that_ends_leaves_its_part_to_the_others() {
    use Class::Normal;
    let flows = [(plan(Normal, 2), 40), (plan(Normal, 1), 40), (plan(Normal, 1), 5)];
    let (_, sent) = play(&shared(&flows));
    let ended = last(&sent, 3) + 20;
    let of_first = share(&sent, 1, ended, last(&sent, 1) - 200);
    assert!((of_first - 2.0 / 3.0).abs() < 0.03, "{of_first}");
}

/// Generated worlds (losses, outages, wrong claims, failing disks, cancelled objects) in which objects are
/// spread over flows whose plans change all the time: nothing is lost, nothing stands still for ever.
#[test]
fn plans_that_change_all_the_time_break_no_rule() {
    for seed in 0..150 {
        let mut scenario = generate(seed);
        let rng = Rng::new(seed);
        let mut draw = rng.fork("flows");
        for side in Side::BOTH {
            let count = scenario.loads[side.index()].len();
            for id in 1..5 {
                scenario.steps.push((at(0), step(side, id, FlowPlan::default())));
            }
            for object in 0..u32::try_from(count).unwrap() {
                let id = flow(u32::try_from(draw.below(5)).unwrap());
                scenario.hosts[side.index()].flows.insert(ObjectId::new(object), id);
            }
            let mut now = 0;
            for _ in 0..12 {
                now += draw.below(600);
                let id = u32::try_from(draw.below(5)).unwrap();
                scenario.steps.push((at(now), step(side, id, any_plan(&mut draw))));
            }
            for id in 0..5 {
                scenario.steps.push((at(now), step(side, id, FlowPlan::default())));
            }
        }
        run(&scenario, Speech::Silent).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

fn step(side: Side, id: u32, plan: FlowPlan) -> Step {
    Step::Flow { side, flow: flow(id), plan }
}

fn any_plan(draw: &mut Rng) -> FlowPlan {
    let class = Class::ALL[usize::try_from(draw.below(3)).unwrap()];
    let cap = (draw.below(3) == 0).then(|| BitRate::kbps(draw.below(50_000)));
    let weight = Weight::new(u16::try_from(1 + draw.below(1_000)).unwrap());
    FlowPlan { class, weight, cap, paused: draw.below(3) == 0 }
}
