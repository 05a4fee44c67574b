//! The audit log, and how meddling with it shows.

use countersign_store::{
    AuditActor, AuditEvent, AuditFilter, AuditHead, AuditMark, ChainBreak, ChainMac, ChainProblem, Error, MarkProblem,
    RecordedEvent,
};
use countersign_token::id::AccountId;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::{Open, World, at, change, event, insert, on_both, write};

on_both! {
    events_are_kept_as_they_were_recorded,
    lists_are_filtered_and_cut,
    every_filter_lets_through_what_it_names,
    pages_come_one_after_the_other,
    a_pruned_log_begins_at_its_mark,
    a_head_that_nobody_pruned_is_missed,
    pruning_stops_at_what_is_newer,
    marks_tell_what_the_store_alone_does_not,
    heads_are_sealed,
    an_untouched_chain_holds,
    meddling_shows_where_it_happened,
    a_log_under_another_key_does_not_verify,
    any_field_survives,
}

async fn events_are_kept_as_they_were_recorded(world: World) {
    let store = world.open().await;
    let account = AccountId::generate(&world.entropy);
    let event = AuditEvent {
        actor: AuditActor { kind: "management_token", id: "ab".repeat(16) },
        action: "service_token.rotate",
        subject_kind: "service_token",
        subject_id: "0193".to_owned(),
        account: Some(account),
        at: at(5),
        address: Some("2001:db8::1".to_owned()),
        request_id: Some("req-1".to_owned()),
        detail: r#"{"version":2}"#.to_owned(),
    };
    let recorded = event.clone();
    write!(store, [event], |tx| {
        tx.record(event.clone());
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let listed = store.list_audit(&AuditFilter::default(), 10).await.unwrap();
    let expected = RecordedEvent {
        seq: 1,
        at: recorded.at,
        actor_kind: recorded.actor.kind.to_owned(),
        actor_id: recorded.actor.id,
        action: recorded.action.to_owned(),
        subject_kind: recorded.subject_kind.to_owned(),
        subject_id: recorded.subject_id,
        account: recorded.account,
        address: recorded.address,
        request_id: recorded.request_id,
        detail: recorded.detail,
        mac: listed[0].mac,
    };
    assert_eq!(listed, [expected]);
}

async fn lists_are_filtered_and_cut(world: World) {
    let store = world.open().await;
    let accounts = [AccountId::generate(&world.entropy), AccountId::generate(&world.entropy)];
    for number in 0..20_usize {
        let event = AuditEvent {
            account: Some(accounts[number % 2]),
            ..event(if number % 4 == 0 { "a.create" } else { "a.update" }, &(number / 2))
        };
        write!(store, [event], |tx| {
            tx.record(event.clone());
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    }
    let seqs = |events: Vec<RecordedEvent>| events.into_iter().map(|event| event.seq).collect::<Vec<_>>();
    let all = AuditFilter::default();
    assert_eq!(seqs(store.list_audit(&all, 5).await.unwrap()), [1, 2, 3, 4, 5]);
    let after = AuditFilter { after: 17, ..all.clone() };
    assert_eq!(seqs(store.list_audit(&after, 5).await.unwrap()), [18, 19, 20]);
    assert_eq!(seqs(store.list_newest_audit(&all, 3).await.unwrap()), [18, 19, 20]);
    let account = AuditFilter { account: Some(accounts[1]), ..all.clone() };
    assert_eq!(seqs(store.list_audit(&account, 3).await.unwrap()), [2, 4, 6]);
    let subject = AuditFilter { subject_id: Some("3".to_owned()), ..all.clone() };
    assert_eq!(seqs(store.list_audit(&subject, 5).await.unwrap()), [7, 8]);
    let every = AuditFilter {
        account: Some(accounts[0]),
        subject_id: Some("4".to_owned()),
        action: Some("a.create".to_owned()),
        after: 1,
        ..AuditFilter::default()
    };
    assert_eq!(seqs(store.list_audit(&every, 5).await.unwrap()), [9]);
    assert_eq!(seqs(store.list_newest_audit(&AuditFilter { after: 10, ..every }, 5).await.unwrap()), [] as [i64; 0]);
}

async fn every_filter_lets_through_what_it_names(world: World) {
    let store = world.open().await;
    let actors = [("user", "u1"), ("user", "u2"), ("management_token", "u1"), ("operator", "")];
    let addresses = [Some("192.0.2.1"), Some("192.0.2.200"), Some("2001:db8::5"), None];
    for number in 0..8_usize {
        let (kind, id) = actors[number % 4];
        let event = AuditEvent {
            actor: AuditActor { kind, id: id.to_owned() },
            address: addresses[number % 4].map(str::to_owned),
            // Two come late into the log.
            at: at(i64::try_from(if number == 5 { 0 } else { number }).unwrap()),
            ..event(["a.x", "a.y", "a_x.y", "axx.y"][number % 4], "s")
        };
        change!(store, [event], |tx| async {
            tx.record(event);
            Ok::<_, Error>(())
        })
        .unwrap();
    }
    // Every change of these tests leaves an event of its own before the one that it is about.
    let check = async |filter: AuditFilter, expected: &[i64]| {
        let filter = AuditFilter { subject_id: Some("s".to_owned()), ..filter };
        let found = store.list_audit(&filter, 100).await.unwrap();
        let numbers: Vec<i64> = found.iter().map(|event| event.seq / 2 - 1).collect();
        assert_eq!(numbers, expected, "{filter:?}");
        assert_eq!(store.list_newest_audit(&filter, 100).await.unwrap(), found, "{filter:?}");
        let newest = store.list_newest_audit(&filter, 1).await.unwrap();
        assert_eq!(newest.as_slice(), found.last().map_or(&[][..], std::slice::from_ref), "{filter:?}");
    };
    let all = AuditFilter::default();
    let text = |text: &str| Some(text.to_owned());
    check(all.clone(), &[0, 1, 2, 3, 4, 5, 6, 7]).await;
    check(AuditFilter { actor_kind: text("user"), ..all.clone() }, &[0, 1, 4, 5]).await;
    check(AuditFilter { actor_id: text("u1"), ..all.clone() }, &[0, 2, 4, 6]).await;
    check(AuditFilter { actor_kind: text("user"), actor_id: text("u1"), ..all.clone() }, &[0, 4]).await;
    check(AuditFilter { action: text("a.x"), ..all.clone() }, &[0, 4]).await;
    check(AuditFilter { action: text("a.*"), ..all.clone() }, &[0, 1, 4, 5]).await;
    check(AuditFilter { action: text("a_x.*"), ..all.clone() }, &[2, 6]).await;
    check(AuditFilter { action: text("*"), ..all.clone() }, &[]).await;
    check(AuditFilter { since: Some(at(4)), ..all.clone() }, &[4, 6, 7]).await;
    check(AuditFilter { until: Some(at(2)), ..all.clone() }, &[0, 1, 5]).await;
    check(AuditFilter { since: Some(at(1)), until: Some(at(4)), after: 5, ..all.clone() }, &[2, 3]).await;
    check(AuditFilter { since: Some(at(100)), ..all.clone() }, &[]).await;
    for (network, expected) in [
        ("192.0.2.1", &[0, 4][..]),
        ("192.0.2.0/24", &[0, 1, 4, 5]),
        ("2001:db8::/32", &[2, 6]),
        ("10.0.0.0/8", &[]),
        ("0.0.0.0/0", &[0, 1, 4, 5]),
    ] {
        check(AuditFilter { network: Some(network.parse().unwrap()), ..all.clone() }, expected).await;
    }
}

async fn pages_come_one_after_the_other(world: World) {
    let store = ten(&world).await;
    for (newest_first, network) in [(false, None), (true, None), (false, Some("::/0")), (true, Some("::/0"))] {
        let filter = AuditFilter {
            since: Some(at(0)),
            network: network.map(|network| network.parse().unwrap()),
            ..AuditFilter::default()
        };
        let mut pages = store.audit_pages(&filter, newest_first).await.unwrap();
        let mut found = Vec::new();
        loop {
            let page = pages.next(3).await.unwrap();
            assert!(page.len() <= 3);
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|event| event.seq));
        }
        let mut expected: Vec<i64> = if network.is_some() { Vec::new() } else { (1..=10).collect() };
        if newest_first {
            expected.reverse();
        }
        assert_eq!(found, expected);
    }
}

/// Ten events, of which the first `pruned` were pruned, and the one that says so.
async fn pruned(world: &World, pruned: i64) -> Open {
    let store = world.open().await;
    for second in 0..10 {
        let event = AuditEvent { at: at(second), ..event("change", "s") };
        write!(store, [event], |tx| {
            tx.record(event);
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    }
    let event = AuditEvent { at: at(100), ..event("audit.prune", "log") };
    assert_eq!(store.prune_audit(at(pruned), Some(event)).await.unwrap(), pruned.unsigned_abs());
    store
}

async fn a_pruned_log_begins_at_its_mark(world: World) {
    let store = pruned(&world, 4).await;
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.first, chain.events, chain.broken), (5, 7, None));
    let left = store.list_audit(&AuditFilter::default(), 100).await.unwrap();
    assert_eq!(left.iter().map(|event| event.seq).collect::<Vec<_>>(), (5..=11).collect::<Vec<_>>());
    assert_eq!(left.last().unwrap().action, "audit.prune");
    assert_eq!(store.oldest_audit().await.unwrap(), Some(at(4)));
    // Nothing more to prune: no event either.
    assert_eq!(store.prune_audit(at(4), Some(event("audit.prune", "log"))).await.unwrap(), 0);
    assert_eq!(store.prune_audit(at(6), None).await.unwrap(), 2);
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.first, chain.events, chain.broken), (7, 5, None));
    // Everything there is, and then something new.
    assert_eq!(store.prune_audit(at(1000), None).await.unwrap(), 5);
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.first, chain.events, chain.broken), (12, 0, None));
    insert(&store, &world.token(world.owner(), "t", 5)).await;
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.first, chain.events, chain.broken), (12, 1, None));
}

async fn a_head_that_nobody_pruned_is_missed(world: World) {
    let store = pruned(&world, 4).await;
    let keep = "CREATE TABLE kept AS SELECT * FROM audit_event; CREATE TABLE kept_anchor AS SELECT * FROM audit_anchor";
    let restore = "DELETE FROM audit_event; INSERT INTO audit_event SELECT * FROM kept; DROP TABLE kept; \
                   DELETE FROM audit_anchor; INSERT INTO audit_anchor SELECT * FROM kept_anchor; DROP TABLE kept_anchor";
    let move_anchor = "UPDATE audit_anchor SET seq = 6, mac = (SELECT mac FROM audit_event WHERE seq = 6)";
    let zero = if world.file().is_some() { "zeroblob(32)" } else { "decode(repeat('00', 32), 'hex')" };
    for (meddle, seq, problem) in [
        // The head is cut, and the anchor says nothing of it; or it is made to.
        ("DELETE FROM audit_event WHERE seq <= 6", 5, ChainProblem::Missing),
        (&format!("{move_anchor}; DELETE FROM audit_event WHERE seq <= 6"), 6, ChainProblem::AnchorForged),
        // The anchor is taken away or altered.
        ("DELETE FROM audit_anchor", 1, ChainProblem::Missing),
        (&format!("UPDATE audit_anchor SET mac = {zero}"), 4, ChainProblem::AnchorForged),
        (&format!("UPDATE audit_anchor SET seal = {zero}"), 4, ChainProblem::AnchorForged),
        ("UPDATE audit_anchor SET seq = 3", 3, ChainProblem::AnchorForged),
        // What was pruned is there again.
        (
            "INSERT INTO audit_event SELECT 2, at, actor_kind, actor_id, action, subject_kind, subject_id, account_id, \
             address, request_id, detail, mac FROM kept WHERE seq = 10",
            2,
            ChainProblem::Early,
        ),
        ("UPDATE audit_event SET detail = '{}' || detail WHERE seq = 5", 5, ChainProblem::Changed),
    ] {
        world.sql(keep).await;
        world.sql(meddle).await;
        let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!(chain.broken, Some(ChainBreak { seq, problem }), "{meddle}");
        world.sql(restore).await;
        let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!((chain.first, chain.events, chain.broken), (5, 7, None), "after undoing {meddle}");
    }
    // A log that somebody has cut is not pruned on: that would heal it.
    world.sql("DELETE FROM audit_event WHERE seq = 5").await;
    let refused = store.prune_audit(at(8), None).await;
    assert!(matches!(&refused, Err(Error::Inconsistent { problem, .. }) if problem.contains("event 5")), "{refused:?}");
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!(chain.broken, Some(ChainBreak { seq: 5, problem: ChainProblem::Missing }));
}

async fn pruning_stops_at_what_is_newer(world: World) {
    let store = world.open().await;
    let events: Vec<AuditEvent> = (0..2500)
        .map(|number| AuditEvent { at: at(if number == 1200 { 10 } else { 0 }), ..event("change", &number) })
        .collect();
    write!(store, [events], |tx| {
        for event in events {
            tx.record(event);
        }
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    for expected in [1000, 200, 0] {
        assert_eq!(store.prune_audit(at(5), None).await.unwrap(), expected);
    }
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.first, chain.events, chain.broken), (1201, 1300, None));
}

/// What a log says of itself holds in each of these cases; the marks do not.
async fn marks_tell_what_the_store_alone_does_not(world: World) {
    let store = pruned(&world, 4).await;
    let events = store.list_audit(&AuditFilter::default(), 100).await.unwrap();
    let mark = |seq: i64| {
        let event = events.iter().find(|event| event.seq == seq).unwrap();
        AuditMark { seq, mac: event.mac }
    };
    let verify = async |marks: &[AuditMark]| {
        let chain = store.verify_audit_marks(&mut marks.iter().copied(), &mut |_| ()).await.unwrap();
        assert_eq!(chain.broken, None);
        let contradicted = chain.contradicted.map(|found| (found.index, found.mark.seq, found.problem));
        (chain.confirmed, chain.pruned, contradicted)
    };
    let none = ChainMac::from_bytes([0; 32]);
    assert_eq!(verify(&[mark(5), mark(5), mark(11)]).await, (3, 0, None));
    assert_eq!(verify(&[AuditMark { seq: 3, mac: none }, mark(9)]).await, (1, 1, None));
    // Of the last event that was pruned, the mac is still known.
    let wrong = AuditMark { seq: 4, mac: none };
    assert_eq!(verify(&[wrong, mark(5)]).await, (0, 0, Some((0, 4, MarkProblem::Differs))));
    let wrong = AuditMark { seq: 9, mac: mark(8).mac };
    assert_eq!(verify(&[mark(5), wrong, mark(10)]).await, (1, 0, Some((1, 9, MarkProblem::Differs))));
    assert_eq!(verify(&[mark(7), mark(6)]).await, (1, 0, Some((1, 6, MarkProblem::Backwards))));
    assert_eq!(verify(&[mark(11), mark(6)]).await, (1, 0, Some((1, 6, MarkProblem::Backwards))));
    let beyond = AuditMark { seq: 12, mac: none };
    assert_eq!(verify(&[mark(11), beyond]).await, (1, 0, Some((1, 12, MarkProblem::Beyond))));
    // The tail is cut off, and the counter put back with it.
    world.sql("DELETE FROM audit_event WHERE seq > 8").await;
    world.sql("UPDATE revision SET audit_seq = 8, audit_mac = (SELECT mac FROM audit_event WHERE seq = 8)").await;
    assert_eq!(verify(&[]).await, (0, 0, None));
    assert_eq!(verify(&[mark(8), mark(11)]).await, (1, 0, Some((1, 11, MarkProblem::Beyond))));
    // And the log goes on from there.
    for _ in 0..5 {
        insert(&store, &world.token(world.owner(), "t", 5)).await;
    }
    assert_eq!(verify(&[mark(8), mark(11)]).await, (1, 0, Some((1, 11, MarkProblem::Differs))));
}

async fn heads_are_sealed(world: World) {
    let store = world.open().await;
    assert_eq!(store.audit_head(at(1)).await.unwrap(), None);
    let installation = world.installation();
    change!(store, [installation], |tx| tx.insert_installation(&installation)).unwrap();
    let head = store.audit_head(at(1)).await.unwrap().unwrap();
    let last = store.list_newest_audit(&AuditFilter::default(), 1).await.unwrap().remove(0);
    let revision = store.revision().await.unwrap();
    assert_eq!(head, AuditHead { installation: installation.id, seq: last.seq, mac: last.mac, revision, at: at(1) });
    let seal = store.seal_audit_head(&head).await.unwrap();
    let other = AuditHead { seq: 2, ..head };
    let sealed = store.are_audit_heads_sealed(&[(head, seal), (other, seal), (head, head.mac)]).await.unwrap();
    assert_eq!(sealed, [true, false, false]);
}

/// Ten events.
async fn ten(world: &World) -> Open {
    let store = world.open().await;
    let owner = world.owner();
    for second in 0..10 {
        insert(&store, &world.token(owner, "t", second)).await;
    }
    store
}

async fn an_untouched_chain_holds(world: World) {
    let store = ten(&world).await;
    let mut seen = 0;
    let chain = store.verify_audit_chain(&mut |events| seen = events).await.unwrap();
    assert_eq!((chain.events, chain.broken, seen), (10, None, 10));
}

async fn meddling_shows_where_it_happened(world: World) {
    let store = ten(&world).await;
    let check = async |meddle: &str, undo: &str, seq: i64, problem: ChainProblem| {
        world.sql(meddle).await;
        let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!(chain.broken, Some(ChainBreak { seq, problem }), "{meddle}");
        assert_eq!(chain.events, seq.unsigned_abs() - 1, "{meddle}");
        world.sql(undo).await;
        let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!((chain.events, chain.broken), (10, None), "after undoing {meddle}");
    };
    let swap = |a: i64, b: i64| {
        format!(
            "UPDATE audit_event SET seq = -1 WHERE seq = {a}; UPDATE audit_event SET seq = {a} WHERE seq = {b}; \
             UPDATE audit_event SET seq = {b} WHERE seq = -1"
        )
    };
    let keep = "CREATE TABLE kept AS SELECT * FROM audit_event";
    let restore = "DELETE FROM audit_event; INSERT INTO audit_event SELECT * FROM kept; DROP TABLE kept";
    // Changed.
    check(
        "UPDATE audit_event SET action = 'service_token.delete' WHERE seq = 4",
        "UPDATE audit_event SET action = 'service_token.create' WHERE seq = 4",
        4,
        ChainProblem::Changed,
    )
    .await;
    check(
        "UPDATE audit_event SET account_id = 'nobody' WHERE seq = 5",
        "UPDATE audit_event SET account_id = NULL WHERE seq = 5",
        5,
        ChainProblem::Changed,
    )
    .await;
    // Removed: at the start, in the middle, at the end.
    for (seq, problem) in [(1, ChainProblem::Missing), (6, ChainProblem::Missing), (10, ChainProblem::CutOff)] {
        check(&format!("{keep}; DELETE FROM audit_event WHERE seq = {seq}"), restore, seq, problem).await;
    }
    check(&format!("{keep}; DELETE FROM audit_event WHERE seq > 7"), restore, 8, ChainProblem::CutOff).await;
    check(&format!("{keep}; DELETE FROM audit_event"), restore, 1, ChainProblem::CutOff).await;
    // Removed, and what came after moved up.
    check(
        &format!(
            "{keep}; DELETE FROM audit_event WHERE seq = 3; UPDATE audit_event SET seq = seq - 100 WHERE seq > 3; \
                  UPDATE audit_event SET seq = seq + 99 WHERE seq < 0"
        ),
        restore,
        3,
        ChainProblem::Changed,
    )
    .await;
    // Put in a new place.
    check(&swap(2, 9), &swap(2, 9), 2, ChainProblem::Changed).await;
    // Added.
    check(
        &format!(
            "{keep}; INSERT INTO audit_event SELECT 11, at, actor_kind, actor_id, action, subject_kind, subject_id, \
                  account_id, address, request_id, detail, mac FROM kept WHERE seq = 10"
        ),
        restore,
        11,
        ChainProblem::Changed,
    )
    .await;
    // The recorded end put back, alone and with the mac that belongs there.
    check("UPDATE revision SET audit_seq = 8", "UPDATE revision SET audit_seq = 10", 8, ChainProblem::EndDiffers).await;
    let end = |seq: i64| {
        format!("UPDATE revision SET audit_seq = {seq}, audit_mac = (SELECT mac FROM audit_event WHERE seq = {seq})")
    };
    check(&end(8), &end(10), 9, ChainProblem::Added).await;
}

async fn a_log_under_another_key_does_not_verify(world: World) {
    ten(&world).await.close().await;
    let other = countersign_token::digest::InstallationKey::generate(&world.entropy);
    let store = world.try_open_at(world.database.clone(), &other).await.expect("no installation yet to compare with");
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!(chain.broken, Some(ChainBreak { seq: 1, problem: ChainProblem::Changed }));
}

fn any_text() -> impl Strategy<Value = String> {
    // Neither database keeps U+0000 everywhere; it is refused at the edge.
    "[^\0]{0,40}"
}

fn any_event() -> impl Strategy<Value = AuditEvent> {
    let texts = (any_text(), any_text(), any_text());
    let options =
        (proptest::option::of(any::<[u8; 16]>()), proptest::option::of(any_text()), proptest::option::of(any_text()));
    (texts, options, any::<i64>()).prop_map(|((actor, subject, detail), (account, address, request), micros)| {
        AuditEvent {
            actor: AuditActor { kind: "user", id: actor },
            action: "a.b",
            subject_kind: "a",
            subject_id: subject,
            account: account.map(AccountId::from_bytes),
            at: countersign_token::time::Timestamp::from_micros(micros),
            address,
            request_id: request,
            detail,
        }
    })
}

async fn any_field_survives(world: World) {
    let store = world.open().await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(any_event(), 90..100);
    let events = strategy.new_tree(&mut runner).unwrap().current();
    let count = events.len();
    let recorded = events.clone();
    // All in one job: the rows are inserted many at a time, and in order.
    write!(store, [events], |tx| {
        for event in events {
            tx.record(event);
        }
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let listed = store.list_audit(&AuditFilter::default(), 1000).await.unwrap();
    let fields = |event: &RecordedEvent| (event.at, event.actor_id.clone(), event.account, event.address.clone());
    let expected: Vec<_> =
        recorded.into_iter().map(|event| (event.at, event.actor.id, event.account, event.address)).collect();
    assert_eq!(listed.iter().map(fields).collect::<Vec<_>>(), expected);
    let chain = store.verify_audit_chain(&mut |_| ()).await.unwrap();
    assert_eq!((chain.events, chain.broken), (count as u64, None));
}
