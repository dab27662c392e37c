//! Jobs as their leaders and their sites see them.

use super::*;
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{BitRate, Bytes};
use proptest::prelude::*;

const BERLIN: SiteId = SiteId([1; 32]);
const TOKYO: SiteId = SiteId([2; 32]);
const AUSTIN: SiteId = SiteId([3; 32]);

fn place(site: SiteId, text: &str) -> Place {
    Place::of(text.parse().expect("a place"), site)
}

fn golden() -> Spec {
    Spec {
        id: JobId([7; 16]),
        revision: 1,
        name: "golden".to_owned(),
        kind: Kind::Distribute,
        sources: vec![place(BERLIN, "berlin:images/golden")],
        targets: vec![place(TOKYO, "tokyo:images/golden"), place(AUSTIN, "austin:images/golden")],
        class: Class::Normal,
        weight: 3,
        cap: Some(BitRate::mbps(200)),
        calendar: Some("nights".to_owned()),
        activate: Activate::Each,
        times: Times::default(),
    }
}

const FROZEN: Frozen = Frozen {
    root: [9; 32],
    files: 4,
    bytes: Bytes::new(1000),
    stored: Bytes::new(600),
    is_file: false,
};

fn report(lead: &Lead, state: SiteState) -> Report {
    Report {
        job: JobId([7; 16]),
        revision: lead.order().spec.revision,
        run: lead.order().run,
        source: BERLIN,
        state,
        reason: None,
        done: Bytes::new(0),
        frozen: None,
        receipt: None,
        gives: Vec::new(),
    }
}

fn freeze(lead: &mut Lead, frozen: Frozen) -> LeadChange {
    let said = Report { frozen: Some(frozen), ..report(lead, SiteState::Done) };
    lead.reported(BERLIN, said, 0)
}

fn done(lead: &Lead, frozen: Frozen) -> Report {
    let receipt = Receipt { frozen, at_millis: 5, key: [0; 32], signature: [0; 64] };
    Report { receipt: Some(receipt), ..report(lead, SiteState::Done) }
}

fn state(lead: &Lead) -> JobState {
    lead.state(|_| false).0
}

#[test]
fn a_tree_that_a_disk_stores_otherwise_is_still_the_one_that_was_frozen() {
    let mut lead = Lead::new(golden()).expect("it is one");
    assert_eq!(freeze(&mut lead, FROZEN), LeadChange::Order);
    let denser = Frozen { stored: Bytes::new(1000), ..FROZEN };
    assert_ne!(freeze(&mut lead, denser), LeadChange::Order, "no second run");
    lead.reported(TOKYO, done(&lead, denser), 0);
    assert_eq!(lead.frozen(BERLIN), Some(FROZEN));
    let facts = lead.sites().find(|(_, _, facts)| facts.receipt.is_some());
    assert!(facts.is_some(), "a receipt for the same tree counts");
}

#[test]
fn places_are_read_as_they_are_written() {
    for text in ["berlin:images/golden", "berlin:images", "büro-2:a.b/c d/e"] {
        assert_eq!(place(BERLIN, text).to_string(), text);
    }
    assert_eq!(place(BERLIN, "berlin:images/").to_string(), "berlin:images");
    for bad in [
        "",
        "berlin",
        ":images",
        "berlin:",
        "berlin:Images",
        "berlin:a/../b",
        "berlin:a//b",
        "ber lin:a",
    ] {
        assert!(bad.parse::<PlaceText>().is_err(), "{bad}");
    }
}

#[test]
fn a_job_is_what_its_kind_needs() {
    assert_eq!(golden().check(), Ok(()));
    let none = Spec { targets: Vec::new(), ..golden() };
    assert!(matches!(none.check(), Err(SpecError::Count { .. })));
    let two = Spec { kind: Kind::Copy, ..golden() };
    assert!(matches!(two.check(), Err(SpecError::Count { .. })));
    let twice = Spec { targets: vec![place(BERLIN, "berlin:other/x")], ..golden() };
    assert!(matches!(twice.check(), Err(SpecError::Twice(site)) if site == "berlin"));
    let whole = Spec { targets: vec![place(TOKYO, "tokyo:images")], ..golden() };
    assert!(matches!(whole.check(), Err(SpecError::TargetIsExport(_))));
    for spec in [Spec { weight: 0, ..golden() }, Spec { cap: Some(BitRate::bps(0)), ..golden() }] {
        assert!(spec.check().is_err());
    }
}

#[test]
fn what_is_consolidated_has_a_name_space_for_each_source() {
    let spec = Spec {
        kind: Kind::Consolidate,
        sources: vec![place(TOKYO, "tokyo:logs"), place(AUSTIN, "austin:logs/app")],
        targets: vec![place(BERLIN, "berlin:archive/all")],
        ..golden()
    };
    let legs = spec.legs().expect("short paths");
    let to: Vec<String> = legs.iter().map(|leg| leg.targets[0].to_string()).collect();
    assert_eq!(to, ["berlin:archive/all/tokyo", "berlin:archive/all/austin"]);
    assert_ne!(legs[0].key, legs[1].key);
}

#[test]
fn a_job_is_done_when_each_target_has_what_its_source_froze() {
    let mut lead = Lead::new(golden()).expect("it is one");
    assert_eq!(state(&lead), JobState::Waiting);
    assert_eq!(freeze(&mut lead, FROZEN), LeadChange::Order);
    assert_eq!(lead.order().frozen, [(BERLIN, FROZEN)]);
    let running = report(&lead, SiteState::Running);
    assert_eq!(lead.reported(TOKYO, running.clone(), 0), LeadChange::Progress);
    assert_eq!(lead.reported(TOKYO, running, 0), LeadChange::Nothing, "said again");
    assert_eq!(state(&lead), JobState::Running);
    for site in [TOKYO, AUSTIN] {
        let said = done(&lead, FROZEN);
        lead.reported(site, said, 0);
    }
    assert_eq!(state(&lead), JobState::Done);
    assert!(
        lead.sites()
            .filter(|(_, site, _)| *site != BERLIN)
            .all(|(.., facts)| facts.receipt.is_some())
    );
    // The next run is another one.
    let old = done(&lead, FROZEN);
    assert_eq!(lead.rerun(), LeadChange::Order);
    assert_eq!(state(&lead), JobState::Waiting);
    assert_eq!(lead.reported(TOKYO, old, 0), LeadChange::Nothing, "of the run before");
}

#[test]
fn a_receipt_of_before_a_restart_counts_for_its_run_only() {
    let mut lead = Lead::new(golden()).expect("it is one");
    freeze(&mut lead, FROZEN);
    let said = done(&lead, FROZEN);
    lead.reported(TOKYO, said.clone(), 0);
    assert!(lead.has_receipt(TOKYO, &said) && !lead.has_receipt(AUSTIN, &said));
    let mut again = Lead::kept(lead.order().clone());
    for site in [TOKYO, AUSTIN] {
        again.remember(site, said.clone());
    }
    assert_eq!(state(&again), JobState::Done);
    lead.rerun();
    let mut later = Lead::kept(lead.order().clone());
    later.remember(TOKYO, said.clone());
    later.remember(BERLIN, said.clone());
    later.remember(SiteId([9; 32]), said);
    assert_ne!(state(&later), JobState::Done, "of the run before");
    let receipts = |site| {
        later.sites().find(|(_, of, _)| *of == site).expect("it takes part").2.receipt.clone()
    };
    assert_eq!(receipts(TOKYO).map(|(run, _)| run), Some(1));
    assert_eq!(receipts(BERLIN), None, "a source signs none");
}

#[test]
fn who_says_to_be_done_with_something_else_has_failed() {
    let mut lead = Lead::new(golden()).expect("it is one");
    freeze(&mut lead, FROZEN);
    for said in [done(&lead, Frozen { root: [8; 32], ..FROZEN }), report(&lead, SiteState::Done)] {
        lead.reported(TOKYO, said, 0);
        let (state, reason) = lead.state(|_| false);
        assert_eq!(state, JobState::Failed);
        assert!(reason.is_some_and(|reason| reason.starts_with("tokyo: ")));
    }
}

#[test]
fn nobody_reports_what_is_not_theirs() {
    let mut lead = Lead::new(golden()).expect("it is one");
    let frozen = Report { frozen: Some(FROZEN), ..report(&lead, SiteState::Done) };
    // A target freezes nothing for the source.
    lead.reported(TOKYO, frozen.clone(), 0);
    assert!(lead.order().frozen.is_empty());
    // Nor does a stranger, or somebody for a source that is none.
    assert_eq!(lead.reported(SiteId([4; 32]), frozen.clone(), 0), LeadChange::Nothing);
    let other = Report { source: TOKYO, ..frozen };
    assert_eq!(lead.reported(TOKYO, other, 0), LeadChange::Nothing);
}

#[test]
fn all_switch_at_one_instant_once_everything_is_everywhere() {
    let mut lead = Lead::new(Spec { activate: Activate::Together, ..golden() }).expect("it is one");
    freeze(&mut lead, FROZEN);
    let staged = report(&lead, SiteState::Staged);
    lead.reported(TOKYO, staged.clone(), 100);
    assert_eq!(lead.order().switch_at, None);
    assert_eq!(lead.reported(AUSTIN, staged, 200), LeadChange::Order);
    assert_eq!(lead.order().switch_at, Some(200 + SWITCH_NOTICE_MILLIS));
    lead.rerun();
    assert_eq!(lead.order().switch_at, None, "another run, another instant");
}

#[test]
fn a_source_that_changes_after_it_froze_makes_another_run() {
    let mut lead = Lead::new(golden()).expect("it is one");
    freeze(&mut lead, FROZEN);
    assert_eq!(freeze(&mut lead, FROZEN), LeadChange::Nothing, "the same again");
    assert_eq!(freeze(&mut lead, Frozen { root: [8; 32], ..FROZEN }), LeadChange::Order);
    assert_eq!(lead.order().run, 2);
    assert!(lead.order().frozen.is_empty());
}

#[test]
fn an_edit_is_of_the_revision_that_its_author_saw() {
    let mut lead = Lead::new(golden()).expect("it is one");
    let heavier = Spec { weight: 9, ..golden() };
    assert_eq!(lead.edit(1, heavier.clone()), Ok(LeadChange::Order));
    assert_eq!(lead.order().spec.revision, 2);
    assert_eq!(lead.order().run, 1, "the same run");
    let stale = lead.edit(1, heavier.clone());
    assert_eq!(stale, Err(EditError::Revision { now: 2, of: 1 }));
    // A site more, and one less: who stays keeps what it said.
    freeze(&mut lead, FROZEN);
    let said = done(&lead, FROZEN);
    lead.reported(TOKYO, said, 0);
    let fewer = Spec { targets: vec![place(TOKYO, "tokyo:images/golden")], ..heavier };
    assert_eq!(lead.edit(2, fewer), Ok(LeadChange::Order));
    assert_eq!(state(&lead), JobState::Waiting, "what it said was of the revision before");
    let said = done(&lead, FROZEN);
    lead.reported(TOKYO, said, 0);
    assert_eq!(state(&lead), JobState::Done);
    let moved = Spec {
        sources: vec![place(BERLIN, "berlin:images/other")],
        targets: vec![place(TOKYO, "tokyo:images/golden")],
        ..golden()
    };
    assert_eq!(lead.edit(3, moved), Err(EditError::Source("berlin".to_owned())));
    let from = Spec { sources: vec![place(AUSTIN, "austin:images/golden")], ..golden() };
    let from = Spec { targets: vec![place(TOKYO, "tokyo:images/golden")], ..from };
    assert_eq!(lead.edit(3, from), Ok(LeadChange::Order));
    assert_eq!(lead.order().run, 2, "another source");
}

#[test]
fn what_was_stopped_stays_so() {
    let mut lead = Lead::new(golden()).expect("it is one");
    assert_eq!(lead.wish(Wish::Pause), LeadChange::Order);
    assert_eq!(state(&lead), JobState::Paused);
    assert_eq!(lead.wish(Wish::Pause), LeadChange::Nothing);
    assert_eq!(lead.wish(Wish::Stop), LeadChange::Order);
    assert_eq!(lead.wish(Wish::Run), LeadChange::Nothing);
    assert_eq!(lead.edit(1, golden()), Err(EditError::Stopped));
}

#[test]
fn of_two_orders_the_later_one_counts_and_only_those_of_the_leader() {
    let mut lead = Lead::new(golden()).expect("it is one");
    let mut duty = Duty { lead: BERLIN, order: lead.order().clone() };
    let first = lead.order().clone();
    lead.wish(Wish::Pause);
    let second = lead.order().clone();
    assert_eq!(duty.take(BERLIN, second), Ok(DutyChange::Changed));
    assert_eq!(duty.take(BERLIN, first.clone()), Ok(DutyChange::Nothing));
    assert!(!duty.is_running());
    assert_eq!(duty.take(TOKYO, first), Err(Refusal::OtherLead));
}

fn exports(read: &[SiteId], write: &[SiteId]) -> Exports {
    let grants =
        Grants { read: read.iter().copied().collect(), write: write.iter().copied().collect() };
    [(ExportName::new("images").expect("a name"), grants)].into()
}

/// spec: S-234
#[test]
fn a_site_gives_and_takes_what_its_own_configuration_says() {
    let spec = golden();
    let may = |lead, me, exports: &Exports| authorise(&spec, lead, me, exports);
    let all = exports(&[TOKYO, AUSTIN], &[]);
    assert_eq!(may(BERLIN, BERLIN, &all), Ok(()));
    let some = exports(&[TOKYO], &[]);
    assert!(
        matches!(may(BERLIN, BERLIN, &some), Err(Refusal::Read { site, .. }) if site == "austin")
    );
    assert_eq!(may(BERLIN, TOKYO, &exports(&[], &[BERLIN])), Ok(()));
    assert!(matches!(may(BERLIN, TOKYO, &exports(&[BERLIN], &[])), Err(Refusal::Write { .. })));
    assert!(matches!(may(BERLIN, TOKYO, &Exports::new()), Err(Refusal::NoExport { .. })));
    // Another target that leads does not choose what is put here, unless it may write.
    assert!(may(AUSTIN, TOKYO, &exports(&[], &[BERLIN])).is_err());
    assert_eq!(may(AUSTIN, TOKYO, &exports(&[], &[BERLIN, AUSTIN])), Ok(()));
    // Nor does a third site read or write by leading.
    let third = SiteId([4; 32]);
    assert!(may(third, BERLIN, &all).is_err());
    assert!(may(third, TOKYO, &exports(&[], &[BERLIN])).is_err());
    assert_eq!(may(BERLIN, third, &all), Err(Refusal::NoPart));
}

#[test]
fn two_jobs_do_not_put_things_into_one_place() {
    let other = |path: &str| Spec {
        id: JobId([8; 16]),
        name: "other".to_owned(),
        targets: vec![place(TOKYO, path)],
        ..golden()
    };
    for taken in ["tokyo:images/golden", "tokyo:images/golden/sub"] {
        let taken = check_apart(&golden(), TOKYO, [&other(taken)]);
        assert!(matches!(taken, Err(Refusal::Taken { job, .. }) if job == "other"));
    }
    for free in ["tokyo:images/golden2", "tokyo:other/golden"] {
        assert_eq!(check_apart(&golden(), TOKYO, [&other(free)]), Ok(()));
    }
    assert_eq!(check_apart(&golden(), TOKYO, [&golden()]), Ok(()), "it is itself");
}

proptest! {
    #[test]
    fn what_travels_is_read_as_it_was_written(
        (run, turn, switch_at, back) in (1_u64.., any::<u64>(), any::<Option<u64>>(), any::<bool>()),
        (weight, cap, together, wish) in (1_u32..1000, prop::option::of(1_u64..), any::<bool>(), 0_usize..3),
        reason in prop::option::of("\\PC{0,40}"),
        (state, start, span) in (0_usize..6, prop::option::of(0..u64::MAX / 2), 1..u64::MAX / 2),
    ) {
        let wish = [Wish::Run, Wish::Pause, Wish::Stop][wish];
        let activate = if together { Activate::Together } else { Activate::Each };
        let times = Times { start_millis: start, deadline_millis: start.map(|start| start + span) };
        let spec = Spec { weight, cap: cap.map(BitRate::bps), activate, times, ..golden() };
        let frozen = vec![(BERLIN, FROZEN)];
        let order = Order { spec, wish, run, frozen, switch_at, back, turn };
        let lead = Lead::kept(order.clone());
        let said = JobMessage::Order(Box::new(order));
        prop_assert_eq!(JobMessage::decode(&said.encode()), Some(said));
        let states = [SiteState::Waiting, SiteState::Running, SiteState::Paused, SiteState::Staged, SiteState::Done, SiteState::Failed];
        let report = Report { state: states[state], reason, ..done(&lead, FROZEN) };
        let said = JobMessage::Report(Box::new(report));
        let bytes = said.encode();
        prop_assert_eq!(JobMessage::decode(&bytes), Some(said));
        prop_assert_eq!(JobMessage::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn what_is_planned_is_read_as_it_was_written(
        (ticket, files, bytes) in (any::<u64>(), any::<u64>(), any::<u64>()),
        (refused, room) in (prop::option::of("[a-z ]{0,40}"), prop::option::of(any::<u64>())),
        (is_source, is_again) in any::<(bool, bool)>(),
    ) {
        let sum = (files, Bytes::new(bytes));
        let tree = TreeFound { root: [1; 32], files, bytes: sum.1, stored: sum.1 };
        let changed = ChangedSince { root: [2; 32], new: sum, changed: sum, removed: files };
        let leg = LegFound {
            source: BERLIN,
            refused,
            tree: is_source.then_some(tree),
            changed: is_again.then_some(changed),
            room: room.map(Bytes::new),
        };
        let finding = Finding { ticket, job: JobId([7; 16]), legs: vec![leg.clone(), leg] };
        let question = Question { ticket, spec: golden() };
        for said in [JobMessage::Finding(Box::new(finding)), JobMessage::Question(Box::new(question))] {
            prop_assert_eq!(JobMessage::decode(&said.encode()), Some(said));
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(message) = JobMessage::decode(&bytes) {
            prop_assert_eq!(JobMessage::decode(&message.encode()), Some(message));
        }
    }
}
