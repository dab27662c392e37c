//! What control messages promise: they survive, their bounds hold both ways, newer fields pass.

use super::*;
use crate::limits::{INLINE_MANIFEST_MAX, OBJECT_MAX, PATH_MAX};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const TRANSFER: TransferId = TransferId::new(7);

fn accept(want: Vec<EntryRange>, have: Vec<Have>) -> Message {
    Message::Accept(Accept { transfer: TRANSFER, want, have })
}

fn plain_request() -> Request {
    Request { transfer: TRANSFER, path: b"data".to_vec(), resume: true, wishes: None }
}

fn entries(first: u32, count: u32) -> EntryRange {
    EntryRange { first, count }
}

fn have(entry: u32, first: u32, count: u32) -> Have {
    Have { entry, first, count, digest: [9; 32] }
}

fn reopen(first: u32, count: u32, first_block: u32) -> Message {
    reopen_all(&[(first, count)], first_block)
}

fn reopen_all(runs: &[(u32, u32)], first_block: u32) -> Message {
    let (object, first_block) = (ObjectId::new(1), BlockIndex::new(first_block));
    let runs = runs.iter().map(|&(first, count)| BlockSpan { first, count }).collect();
    Message::Reopen { object, runs, first_block }
}

fn offer(dest: Vec<u8>, manifest: ManifestCarrier) -> Message {
    let (entries, bytes, resume, left_out, rate_min) = (3, 5, true, None, None);
    let transfer = TRANSFER;
    Message::Offer(Offer { transfer, dest, manifest, entries, bytes, resume, left_out, rate_min })
}

fn done(failed: Vec<EntryFailure>, failed_total: u64) -> Message {
    Message::Done(Done { transfer: TRANSFER, files: 1, bytes: 2, failed, failed_total, skipped: 3 })
}

fn refuse(reason: String) -> Message {
    Message::Refuse { transfer: TRANSFER, code: RefuseCode::Busy, reason }
}

/// What a peer that keeps no rules would put on the wire.
fn encode_unchecked(message: &Message) -> Vec<u8> {
    minicbor::to_vec(message).expect("a vector takes everything")
}

#[test]
fn a_hello_has_the_documented_bytes() {
    let hello = Message::Hello { features: 5, agent: "fh/1".into() };
    assert_eq!(hello.encode_body(), [0x83, 0, 5, 0x64, b'f', b'h', b'/', b'1']);
}

#[test]
fn a_field_of_a_newer_peer_is_skipped() {
    let body = [0x85, 6, 1, 0x81, 0x82, 2, 3, 4, 0xa1, 0, 0x81, 0];
    let decoded = Message::decode(&body).expect("one field more");
    assert_eq!(decoded, reopen(2, 3, 4));
}

#[test]
fn an_unknown_message_or_code_is_refused() {
    let unknown = Message::decode(&[0x81, 13]);
    assert!(matches!(unknown, Err(ControlError::Content(_))), "{unknown:?}");
    let unknown = Message::decode(&[0x84, 4, 0, 9, 0x60]);
    assert!(matches!(unknown, Err(ControlError::Content(_))), "{unknown:?}");
}

#[test]
fn a_missing_field_is_refused() {
    let missing = Message::decode(&[0x83, 6, 1, 0x81, 0x82, 2, 3]);
    assert!(matches!(missing, Err(ControlError::Content(_))), "{missing:?}");
}

#[test]
fn a_reason_that_is_not_utf_8_is_refused() {
    let body = [0x84, 4, 0, 0, 0x61, 0xff];
    assert!(matches!(Message::decode(&body), Err(ControlError::Content(_))));
}

#[test]
fn the_largest_accept_fits_into_a_frame() {
    let wanted = u32::try_from(WANT_MAX).expect("a million");
    let want = (0..wanted).map(|n| entries(u32::MAX - 2 * (wanted - n), 1)).collect();
    let runs = u32::try_from(HAVE_MAX).expect("65,536");
    let have = (0..runs).map(|n| have(u32::MAX - runs + n, u32::MAX - 99_999, 99_999)).collect();
    let largest = accept(want, have);
    let body = largest.encode_body();
    assert_eq!(Message::decode(&body).expect("largest"), largest);
}

#[test]
fn every_bound_holds_exactly() {
    let failure = |entry| EntryFailure { entry, code: FailCode::Io, reason: String::new() };
    let failures = |count: u32| (0..count).map(failure).collect::<Vec<_>>();
    let object = |len| offer(vec![], ManifestCarrier::Object { len, digest: [0; 32] });
    let request = |len| Message::Request(Request { path: vec![0; len], ..plain_request() });
    let hello = |len| Message::Hello { features: 0, agent: "a".repeat(len) };
    let pairs = [
        (hello(AGENT_MAX), hello(AGENT_MAX + 1)),
        (refuse("a".repeat(REASON_MAX)), refuse("a".repeat(REASON_MAX + 1))),
        (
            offer(vec![0; PATH_MAX], ManifestCarrier::Inline(vec![])),
            offer(vec![0; PATH_MAX + 1], ManifestCarrier::Inline(vec![])),
        ),
        (
            offer(vec![], ManifestCarrier::Inline(vec![0; INLINE_MANIFEST_MAX])),
            offer(vec![], ManifestCarrier::Inline(vec![0; INLINE_MANIFEST_MAX + 1])),
        ),
        (object(OBJECT_MAX.get()), object(OBJECT_MAX.get() + 1)),
        (object(1), object(0)),
        (request(PATH_MAX), request(PATH_MAX + 1)),
        (done(failures(1000), 1000), done(failures(1001), 1001)),
        (done(failures(2), 2), done(failures(2), 1)),
        (reopen(0, 1, 0), reopen(0, 0, 0)),
        (reopen(u32::MAX - 1, 1, 0), reopen(u32::MAX, 1, 0)),
        (reopen(0, 1, u32::MAX - 1), reopen(0, 1, u32::MAX)),
        (reopen_all(&[(0, 1), (1, 1)], 0), reopen_all(&[(0, 2), (1, 1)], 0)),
        (reopen(0, 1, 0), reopen_all(&[], 0)),
    ];
    for (within, beyond) in pairs {
        let decoded = Message::decode(&encode_unchecked(&within)).expect("within the bound");
        assert_eq!(decoded, within);
        assert!(Message::decode(&encode_unchecked(&beyond)).is_err(), "{beyond:?}");
    }
}

#[test]
fn wishes_of_a_request_may_be_missing_and_newer_ones_are_skipped() {
    let (policy, fec) = (Some(Policy::Low), Some(FecPolicy::Off));
    let pack = Some(PackPolicy::Always);
    let wishes = Wishes { rate_max: Some(1), policy, fec, pack, rate_min: None };
    let wishing = |wishes| Message::Request(Request { wishes, ..plain_request() });
    // As a peer without wishes writes it: [2, [7, 'data', true]].
    let old = b"\x82\x02\x83\x07\x44data\xf5";
    assert_eq!(encode_unchecked(&wishing(None)), old);
    assert_eq!(Message::decode(old).expect("of an older peer"), wishing(None));
    let known = b"\x82\x02\x84\x07\x44data\xf5\x84\x01\x00\x01\x02";
    assert_eq!(Message::decode(known).expect("of a peer without floors"), wishing(Some(wishes)));
    let newer = b"\x82\x02\x84\x07\x44data\xf5\x86\x01\x00\x01\x02\x09\x18\x63";
    let floor = Some(Wishes { rate_min: Some(9), ..wishes });
    assert_eq!(Message::decode(newer).expect("of a newer peer"), wishing(floor));
    let zero = Wishes { rate_max: Some(0), ..wishes };
    assert!(Message::decode(&encode_unchecked(&wishing(Some(zero)))).is_err());
    let no_floor = Wishes { rate_min: Some(0), ..wishes };
    assert!(Message::decode(&encode_unchecked(&wishing(Some(no_floor)))).is_err());
    let unknown = b"\x82\x02\x84\x07\x44data\xf5\x82\x01\x04";
    assert!(Message::decode(unknown).is_err());
}

#[test]
fn ranges_that_overlap_descend_or_pass_the_end_are_refused() {
    for good in [
        accept(
            vec![entries(0, 2), entries(2, 1)],
            vec![have(0, 4, 2), have(0, 6, 1), have(1, 0, 1)],
        ),
        accept(vec![entries(u32::MAX - 1, 1)], vec![have(0, u32::MAX - 1, 1)]),
    ] {
        assert_eq!(Message::decode(&encode_unchecked(&good)).expect("in order"), good);
    }
    for bad in [
        accept(vec![entries(0, 2), entries(1, 1)], vec![]),
        accept(vec![entries(5, 1), entries(0, 1)], vec![]),
        accept(vec![entries(0, 0)], vec![]),
        accept(vec![entries(u32::MAX, 1)], vec![]),
        accept(vec![], vec![have(0, 4, 2), have(0, 5, 1)]),
        accept(vec![], vec![have(1, 0, 1), have(0, 0, 1)]),
        accept(vec![], vec![have(0, 1, 0)]),
        accept(vec![], vec![have(0, u32::MAX, 1)]),
    ] {
        assert!(Message::decode(&encode_unchecked(&bad)).is_err(), "{bad:?}");
    }
}

fn any_reason() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| reason(&text))
}

fn any_refuse_code() -> impl Strategy<Value = RefuseCode> {
    use RefuseCode::*;
    prop::sample::select(vec![
        NotAllowed,
        BadPath,
        NotFound,
        Exists,
        NoSpace,
        NoPermission,
        Busy,
        Unsupported,
        Internal,
    ])
}

fn any_fail_code() -> impl Strategy<Value = FailCode> {
    use FailCode::*;
    prop::sample::select(vec![
        SourceChanged,
        SourceUnreadable,
        DestinationChanged,
        NoSpace,
        NoPermission,
        Io,
        Protocol,
        Cancelled,
        Internal,
        Busy,
    ])
}

fn any_transfer() -> impl Strategy<Value = TransferId> {
    any::<u32>().prop_map(TransferId::new)
}

fn any_manifest() -> impl Strategy<Value = ManifestCarrier> {
    prop_oneof![
        vec(any::<u8>(), 0..100).prop_map(ManifestCarrier::Inline),
        (1u64..1 << 50, any::<Digest>())
            .prop_map(|(len, digest)| ManifestCarrier::Object { len, digest }),
    ]
}

prop_compose! {
    fn any_offer()(
        transfer in any_transfer(),
        dest in vec(any::<u8>(), 0..100),
        manifest in any_manifest(),
        (entries, bytes, resume) in any::<(u64, u64, bool)>(),
        left_out in option::of(any_left_out()),
        rate_min in option::of(any::<u64>()),
    ) -> Offer {
        Offer { transfer, dest, manifest, entries, bytes, resume, left_out, rate_min }
    }
}

prop_compose! {
    fn any_notes()(
        notes in vec((vec(any::<u8>(), 0..20), any_reason()), 0..5),
    ) -> Vec<LeftOutNote> {
        notes.into_iter().map(|(path, reason)| LeftOutNote { path, reason }).collect()
    }
}

prop_compose! {
    fn any_left_out()(
        (failed, skipped) in (any_notes(), any_notes()),
        more in 0u64..9,
    ) -> LeftOut {
        let failed_total = failed.len() as u64 + more;
        let skipped_total = skipped.len() as u64;
        LeftOut { failed, failed_total, skipped, skipped_total }
    }
}

#[test]
fn what_is_left_out_of_an_offer_is_bounded_and_may_be_missing() {
    let Message::Offer(plain) = offer(vec![], ManifestCarrier::Inline(vec![1])) else {
        panic!("an offer")
    };
    let with = |notes: usize, failed_total: u64, path: usize| {
        let note = LeftOutNote { path: vec![b'a'; path], reason: "x".repeat(REASON_MAX) };
        let failed = vec![note; notes];
        let left_out = Some(LeftOut { failed, failed_total, ..LeftOut::default() });
        Message::Offer(Offer { left_out, ..plain.clone() })
    };
    let whole = with(LEFT_OUT_MAX, u64::MAX, PATH_MAX);
    assert_eq!(Message::decode(&whole.encode_body()).unwrap(), whole);
    for broken in [with(LEFT_OUT_MAX + 1, u64::MAX, 1), with(2, 1, 1), with(1, 1, PATH_MAX + 1)] {
        assert!(Message::decode(&encode_unchecked(&broken)).is_err());
    }
    let without = Message::Offer(plain).encode_body();
    // An array of two, the second of which has the six fields that always are there.
    assert_eq!((without[0], without[2]), (0x82, 0x86));
}

prop_compose! {
    fn any_accept()(
        transfer in any_transfer(),
        wanted in vec((0u32..1000, 1u32..1000), 0..50),
        held in vec((1u32..9, any::<u32>(), 1u32..1000, any::<Digest>()), 0..50),
    ) -> Accept {
        let want = wanted.into_iter().scan(0, |floor, (skip, count)| {
            let first = *floor + skip;
            *floor = first + count;
            Some(EntryRange { first, count })
        });
        let have = held.into_iter().scan(0, |entry, (skip, first, count, digest)| {
            *entry += skip;
            Some(Have { entry: *entry, first: first.min(u32::MAX - count), count, digest })
        });
        Accept { transfer, want: want.collect(), have: have.collect() }
    }
}

prop_compose! {
    fn any_done()(
        transfer in any_transfer(),
        (files, bytes, skipped, more) in (any::<u64>(), any::<u64>(), any::<u64>(), 0u64..1 << 40),
        failed in vec((any::<u32>(), any_fail_code(), any_reason()), 0..10),
    ) -> Done {
        let failed_total = failed.len() as u64 + more;
        let failed = failed.into_iter();
        let failed = failed.map(|(entry, code, reason)| EntryFailure { entry, code, reason });
        Done { transfer, files, bytes, failed: failed.collect(), failed_total, skipped }
    }
}

prop_compose! {
    fn any_probe()(
        transfer in any_transfer(),
        span_ms in any::<u32>(),
        bytes_max in any::<u64>(),
        rate_max in option::of(1..=u64::MAX),
    ) -> Probe {
        Probe { transfer, span_ms, bytes_max, rate_max }
    }
}

prop_compose! {
    fn any_path_figures()(
        (delay_sent, delay_lost, rtt_min_us, jitter_us) in any::<(u64, u64, u64, u64)>(),
        (small_passes, full_passes, policed_bps) in any::<(Option<bool>, Option<bool>, Option<u64>)>(),
        (train_rate_bps, burst_rate_bps, wire_bytes) in any::<(Option<u64>, Option<u64>, u64)>(),
    ) -> PathFigures {
        PathFigures {
            delay_sent,
            delay_lost,
            rtt_min_us,
            jitter_us,
            small_passes,
            full_passes,
            policed_bps,
            train_rate_bps,
            burst_rate_bps,
            wire_bytes,
            ..PathFigures::default()
        }
    }
}

prop_compose! {
    fn any_figures()(
        (wire_sent, source, repair, resent) in any::<(u64, u64, u64, u64)>(),
        (loss_ppm, rtt_us, rtt_min_us, queue_delay_p95_us) in any::<(u32, u64, u64, u64)>(),
        (limited_by, limited_mostly, limited) in any::<(Option<u8>, Option<u8>, Option<u32>)>(),
        (packed, packed_to, start_hint_bps) in any::<(Option<u64>, Option<u64>, Option<u64>)>(),
    ) -> Figures {
        Figures {
            wire_sent,
            source,
            repair,
            resent,
            loss_ppm,
            rtt_us,
            rtt_min_us,
            queue_delay_p95_us,
            limited_by,
            limited_mostly,
            limited: limited.map(|millis| (&[core::time::Duration::from_millis(millis.into()); 13]).into()),
            packed,
            packed_to,
            start_hint_bps,
        }
    }
}

prop_compose! {
    fn any_reopen()(
        object in any::<u32>().prop_map(ObjectId::new),
        gaps in vec((0u32..1 << 20, 1u32..1 << 20), 1..20),
        first_block in (0u32..1 << 31).prop_map(BlockIndex::new),
    ) -> Message {
        let mut end = 0;
        let run = |(gap, count)| {
            let first = end + gap;
            end = first + count;
            BlockSpan { first, count }
        };
        Message::Reopen { object, runs: gaps.into_iter().map(run).collect(), first_block }
    }
}

prop_compose! {
    fn any_request()(
        transfer in any_transfer(),
        path in vec(any::<u8>(), 0..100),
        resume in any::<bool>(),
        wishes in option::of(any_wishes()),
    ) -> Request {
        Request { transfer, path, resume, wishes }
    }
}

prop_compose! {
    fn any_wishes()(
        rate_max in option::of(1u64..),
        policy in option::of(prop::sample::select(
            vec![Policy::Low, Policy::Fair, Policy::High, Policy::Fixed],
        )),
        fec in option::of(prop::sample::select(
            vec![FecPolicy::Auto, FecPolicy::Off, FecPolicy::Always],
        )),
        pack in option::of(prop::sample::select(
            vec![PackPolicy::Off, PackPolicy::Auto, PackPolicy::Always],
        )),
        rate_min in option::of(1u64..),
    ) -> Wishes {
        Wishes { rate_max, policy, fec, pack, rate_min }
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let failure = || (any::<u32>(), any_fail_code(), any_reason());
    prop_oneof![
        (any::<u64>(), "[a-z0-9/. ]{0,64}")
            .prop_map(|(features, agent)| Message::Hello { features, agent }),
        any_offer().prop_map(Message::Offer),
        any_request().prop_map(Message::Request),
        any_accept().prop_map(Message::Accept),
        (any_transfer(), any_refuse_code(), any_reason())
            .prop_map(|(transfer, code, reason)| Message::Refuse { transfer, code, reason }),
        any::<u32>().prop_map(|object| Message::Sealed { object: ObjectId::new(object) }),
        any_reopen(),
        failure().prop_map(|(object, code, reason)| Message::ObjectFailed {
            object: ObjectId::new(object),
            code,
            reason
        }),
        any::<u32>().prop_map(|block| Message::Restart { block: BlockIndex::new(block) }),
        any_done().prop_map(Message::Done),
        any_figures().prop_map(Message::Figures),
        any_probe().prop_map(Message::Probe),
        (any_transfer(), any_path_figures(), any::<u64>()).prop_map(
            |(transfer, figures, clock_us)| Message::Probed { transfer, figures, clock_us }
        ),
        (any_transfer(), any_figures())
            .prop_map(|(transfer, figures)| Message::Sent { transfer, figures }),
        failure().prop_map(|(transfer, code, reason)| Message::Cancel {
            transfer: TransferId::new(transfer),
            code,
            reason
        }),
    ]
}

proptest! {
    #[test]
    fn every_message_survives_its_frame(message in any_message()) {
        let mut reader = FrameReader::new();
        let body = message.encode_body();
        let prefix = frame_prefix(body.len()).expect("a message");
        let frame = [&prefix[..], &body].concat();
        prop_assert_eq!(reader.push(&frame).expect("own frame"), frame.len());
        let body = reader.pull().expect("a whole frame");
        prop_assert_eq!(&body, &message.encode_body());
        prop_assert_eq!(Message::decode(&body).expect("own message"), message);
    }

    #[test]
    fn every_cut_of_a_message_is_refused(message in any_message(), at in any::<prop::sample::Index>()) {
        let body = message.encode_body();
        prop_assert!(Message::decode(&body[..at.index(body.len())]).is_err());
    }

    #[test]
    fn a_damaged_message_is_refused_or_keeps_the_rules(
        message in any_message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = message.encode_body();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(decoded) = Message::decode(&body) {
            let again = Message::decode(&decoded.encode_body()).expect("it was valid");
            prop_assert_eq!(again, decoded);
        }
    }

    #[test]
    fn no_bytes_panic(body in vec(any::<u8>(), 0..300)) {
        if let Ok(message) = Message::decode(&body) {
            prop_assert!(message.validate().is_ok());
        }
    }
}
