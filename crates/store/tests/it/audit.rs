//! The audit log, and how meddling with it shows.

use countersign_store::{AuditActor, AuditEvent, AuditFilter, ChainBreak, ChainProblem, Error, RecordedEvent};
use countersign_token::id::AccountId;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::{Open, World, at, event, insert, on_both, write};

on_both! {
    events_are_kept_as_they_were_recorded,
    lists_are_filtered_and_cut,
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
    };
    assert_eq!(store.list_audit(&AuditFilter::default(), 10).await.unwrap(), [expected]);
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
    };
    assert_eq!(seqs(store.list_audit(&every, 5).await.unwrap()), [9]);
    assert_eq!(seqs(store.list_newest_audit(&AuditFilter { after: 10, ..every }, 5).await.unwrap()), [] as [i64; 0]);
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
