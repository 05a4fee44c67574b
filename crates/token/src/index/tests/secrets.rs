//! Which of a token's secrets was seen when.

use super::{ACCOUNT, NOW, admits, apply, index};
use crate::feed::Subject;
use crate::id::{ClientId, ServiceTokenId};
use crate::index::{Index, SecretVersion};
use crate::service_token::Owner;
use crate::time::Timestamp;
use crate::verify::{Decision, SecretSlot, Verified};

const CLIENT: ClientId = ClientId::from_bytes([3; 16]);
const ID: ServiceTokenId = ServiceTokenId::from_bytes([4; 16]);

/// The token with a secret of this version, and one before with a grace.
fn token(index: &Index, current: (u32, &str), previous: Option<(u32, &str)>) -> Subject {
    let digest = |secret| index.digest_key().pair(&CLIENT, secret);
    Subject::ServiceToken {
        id: ID,
        owner: Owner { account: ACCOUNT, zone: None },
        client_id: CLIENT,
        name: "x".to_owned(),
        allow_from: None,
        digest: digest(current.1),
        secret_version: current.0,
        previous: previous.map(|(_, secret)| (digest(secret), Timestamp::MAX)),
        previous_version: previous.map(|(version, _)| version),
        enabled: true,
        expires_at: None,
        last_seen_at: None,
        deleted: false,
    }
}

fn admitted(index: &Index, secret: &str) -> Verified {
    match admits(index, CLIENT, secret) {
        Decision::Allow(verified) => verified,
        Decision::Refuse(refusal) => panic!("{secret} {refusal:?}"),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(NOW.as_secs() + second)
}

/// Seconds of what was drained, by version.
fn drained(index: &Index) -> Vec<(u32, i64)> {
    let mut marks = Vec::new();
    index.drain_seen(&mut |mark| marks.push((mark.version, mark.at.as_secs() - NOW.as_secs())));
    marks.sort_unstable();
    marks
}

fn version(version: u32) -> Option<SecretVersion> {
    Some(SecretVersion { id: ID, version })
}

#[test]
fn two_secrets_side_by_side_are_told_apart() {
    let index = index();
    apply(&index, 1, token(&index, (7, "new"), Some((3, "old"))));
    let (new, old) = (admitted(&index, "new"), admitted(&index, "old"));
    assert_eq!((new.slot_used, old.slot_used), (SecretSlot::Current, SecretSlot::Previous));
    // Both within each second, one always first.
    for second in 1..4 {
        assert_eq!(index.mark_seen(&old, at(second)), version(3));
        assert_eq!(index.mark_seen(&new, at(second)), version(7));
        assert_eq!((index.mark_seen(&old, at(second)), index.mark_seen(&new, at(second))), (None, None));
    }
    assert_eq!(drained(&index), [(3, 3), (7, 3)]);
    // Drained in the middle of a second: what comes after it is drained, too.
    index.mark_seen(&new, at(9));
    assert_eq!(drained(&index), [(3, 3), (7, 9)]);
    index.mark_seen(&old, at(9));
    assert_eq!(drained(&index), [(3, 9), (7, 9)]);
    assert_eq!(drained(&index), []);
    assert_eq!(index.last_seen(&CLIENT), Some(at(9)));
}

#[test]
fn a_secret_keeps_its_mark_when_it_becomes_the_one_before() {
    let index = index();
    apply(&index, 1, token(&index, (1, "a"), None));
    let a = admitted(&index, "a");
    assert_eq!(index.mark_seen(&a, at(5)), version(1));
    apply(&index, 2, token(&index, (2, "b"), Some((1, "a"))));
    assert_eq!(drained(&index), [(1, 5)], "not drained before, and still a use of the first");
    index.mark_seen(&admitted(&index, "b"), at(6));
    assert_eq!(drained(&index), [(1, 5), (2, 6)]);
    // And again: the first is nobody's any more.
    apply(&index, 3, token(&index, (9, "c"), Some((2, "b"))));
    index.mark_seen(&admitted(&index, "b"), at(8));
    assert_eq!(drained(&index), [(2, 8)]);
    // A change of anything else leaves them.
    apply(&index, 4, token(&index, (9, "c"), Some((2, "b"))));
    index.mark_seen(&admitted(&index, "c"), at(9));
    assert_eq!(drained(&index), [(2, 8), (9, 9)]);
}

#[test]
fn what_was_admitted_before_a_rotation_is_no_use_of_what_came_after() {
    let index = index();
    apply(&index, 1, token(&index, (1, "a"), None));
    let a = admitted(&index, "a");
    apply(&index, 2, token(&index, (2, "b"), Some((1, "a"))));
    let (b, old) = (admitted(&index, "b"), admitted(&index, "a"));
    apply(&index, 3, token(&index, (3, "c"), Some((2, "b"))));
    // Each was judged before a change, and is marked after it.
    for verified in [a, b, old] {
        assert_eq!(index.mark_seen(&verified, at(5)), None);
    }
    assert_eq!(drained(&index), [(0, 5)], "the token was seen, with one of its secrets");
    assert_eq!(index.last_seen(&CLIENT), Some(at(5)));
}

#[test]
fn a_place_in_another_table_is_the_same() {
    let index = index();
    apply(&index, 1, token(&index, (1, "a"), None));
    apply(&index, 2, token(&index, (2, "b"), Some((1, "a"))));
    let b = admitted(&index, "b");
    index.rebuild(&mut index.shard(b.handle.hash).unwrap().write());
    assert_eq!(index.mark_seen(&b, at(1)), version(2));
    apply(&index, 3, token(&index, (3, "c"), Some((2, "b"))));
    index.rebuild(&mut index.shard(b.handle.hash).unwrap().write());
    assert_eq!(index.mark_seen(&b, at(2)), None);
    assert_eq!(index.mark_seen(&admitted(&index, "c"), at(3)), version(3));
    assert_eq!(drained(&index), [(2, 1), (3, 3)]);
}
