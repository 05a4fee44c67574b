//! Which secret was last used when, and by whom, whatever the order in which that is written down.

use countersign_store::{AuditActor, Error, RotationWish, SecretUse, Sighting, Visitor};
use countersign_token::duration::TokenDuration;
use countersign_token::id::ServiceTokenId;
use countersign_token::index::{SecretVersion, SeenMark, SeenSubject};
use countersign_token::service_token::ServiceToken;

use crate::{World, at, change, insert, on_both};

on_both!(
    a_use_is_of_one_secret,
    neither_mark_nor_visitor_goes_back,
    many_tokens_are_asked_for_at_once,
    a_rotation_is_kept,
    a_wish_is_kept_until_it_is_forgotten,
);

fn sighting(id: ServiceTokenId, version: u32, second: i64, visitor: Option<(i64, &str, Option<&str>)>) -> Sighting {
    let visitor = visitor.map(|(second, address, user_agent)| {
        Box::new(Visitor {
            at: at(second),
            address: Some(address.parse().unwrap()),
            user_agent: user_agent.map(Box::from),
        })
    });
    Sighting { mark: SeenMark { subject: SeenSubject::ServiceToken(id), version, at: at(second) }, visitor }
}

/// Version, seconds, and the visitor's seconds, address and user agent.
type Seen = (u32, i64, Option<(i64, String, Option<String>)>);

fn shown(uses: &[SecretUse]) -> Vec<Seen> {
    uses.iter()
        .map(|seen| {
            let visitor = seen.visitor.as_ref().map(|visitor| {
                let address = visitor.address.map(|address| address.to_string()).unwrap_or_default();
                (visitor.at.as_secs(), address, visitor.user_agent.as_deref().map(str::to_owned))
            });
            (seen.secret.version, seen.last_seen_at.as_secs(), visitor)
        })
        .collect()
}

fn by(second: i64, address: &str, user_agent: Option<&str>) -> Option<(i64, String, Option<String>)> {
    let offset = at(0).as_secs();
    Some((offset + second, address.to_owned(), user_agent.map(str::to_owned)))
}

async fn a_use_is_of_one_secret(world: World) {
    let store = world.open().await;
    let token = world.token(world.owner(), "t", 1);
    insert(&store, &token).await;
    let zero = at(0).as_secs();
    let first = sighting(token.id, 1, 5, Some((5, "192.0.2.1", Some("curl/8"))));
    store.record_seen(&[first]).await.unwrap();
    // What was drained before the rotation comes after it, beside a use of the secret that is now the current one.
    let rotated = token.rotated(Some(at(100)), world.digest("next"), at(10));
    let update = rotated.clone();
    change!(store, [update], |tx| tx.update_service_token(&update)).unwrap();
    let late = sighting(token.id, 1, 9, Some((8, "192.0.2.2", None)));
    let new = sighting(token.id, 2, 12, Some((12, "2001:db8::1", Some("go"))));
    store.record_seen(&[late, new]).await.unwrap();
    let uses = store.list_secret_uses(&[token.id]).await.unwrap();
    let expected = [(1, zero + 9, by(8, "192.0.2.2", None)), (2, zero + 12, by(12, "2001:db8::1", Some("go")))];
    assert_eq!(shown(&uses), expected);
    let found = store.find_service_token(&token.owner, &token.id).await.unwrap().unwrap();
    assert_eq!(found.last_seen_at, Some(at(12)), "the token's own is that of all its secrets");
    // The one that is used last is that before.
    store.record_seen(&[sighting(token.id, 1, 20, None)]).await.unwrap();
    let found = store.find_service_token(&token.owner, &token.id).await.unwrap().unwrap();
    assert_eq!(found.last_seen_at, Some(at(20)));
}

async fn neither_mark_nor_visitor_goes_back(world: World) {
    let store = world.open().await;
    let token = world.token(world.owner(), "t", 1);
    insert(&store, &token).await;
    let zero = at(0).as_secs();
    let check = async |seen: Sighting, expected: Seen| {
        store.record_seen(&[seen]).await.unwrap();
        assert_eq!(shown(&store.list_secret_uses(&[token.id]).await.unwrap()), [expected]);
    };
    check(sighting(token.id, 1, 5, None), (1, zero + 5, None)).await;
    // Another node has seen it later, and says so first.
    check(sighting(token.id, 1, 9, Some((9, "192.0.2.9", None))), (1, zero + 9, by(9, "192.0.2.9", None))).await;
    check(sighting(token.id, 1, 7, Some((7, "192.0.2.7", Some("x")))), (1, zero + 9, by(9, "192.0.2.9", None))).await;
    // A later use of which nobody took down whose it was.
    check(sighting(token.id, 1, 11, None), (1, zero + 11, by(9, "192.0.2.9", None))).await;
    // A visitor may be known later than the use.
    check(sighting(token.id, 1, 10, Some((10, "::1", Some("y")))), (1, zero + 11, by(10, "::1", Some("y")))).await;
}

async fn many_tokens_are_asked_for_at_once(world: World) {
    let store = world.open().await;
    let ids: Vec<_> = (0..150).map(|_| ServiceTokenId::generate(at(1), &world.entropy)).collect();
    let mut seen: Vec<_> = ids.iter().map(|id| sighting(*id, 1, 5, None)).collect();
    seen.push(sighting(ids[149], 2, 6, None));
    store.record_seen(&seen).await.unwrap();
    let secrets: Vec<_> = store.list_secret_uses(&ids).await.unwrap().into_iter().map(|seen| seen.secret).collect();
    let expected: Vec<_> = ids
        .iter()
        .map(|id| (*id, 1))
        .chain([(ids[149], 2)])
        .map(|(id, version)| SecretVersion { id, version })
        .collect();
    assert_eq!(secrets.len(), 151);
    assert!(expected.iter().all(|secret| secrets.contains(secret)));
    assert_eq!(store.list_secret_uses(&[]).await.unwrap(), []);
}

async fn a_rotation_is_kept(world: World) {
    let store = world.open().await;
    let token = world.token(world.owner(), "t", 1);
    insert(&store, &token).await;
    let rotated = token.rotated(Some(at(100)), world.digest("next"), at(10));
    let update = rotated.clone();
    change!(store, [update], |tx| tx.update_service_token(&update)).unwrap();
    let found = store.find_service_token(&token.owner, &token.id).await.unwrap().unwrap();
    assert_eq!((found.secret_version, found.previous_version, found.rotated_at), (2, Some(1), Some(at(10))));
}

/// Somebody's wish for a token.
pub(crate) fn wish(token: &ServiceToken) -> RotationWish {
    RotationWish {
        owner: token.owner,
        id: token.id,
        secret_version: token.secret_version,
        quiet: TokenDuration::parse("24h").unwrap(),
        asked_at: at(3),
        actor: AuditActor { kind: "user", id: "u".to_owned() },
    }
}

async fn a_wish_is_kept_until_it_is_forgotten(world: World) {
    let store = world.open().await;
    let (here, there) = (world.token(world.owner(), "t", 1), world.token(world.zone_owner(), "z", 2));
    let (one, other) = (wish(&here), RotationWish { asked_at: at(1), ..wish(&there) });
    let (first, second) = (one.clone(), other.clone());
    change!(store, [first], |tx| tx.put_rotation_wish(&first)).unwrap();
    change!(store, [second], |tx| tx.put_rotation_wish(&second)).unwrap();
    assert_eq!(store.list_rotation_wishes().await.unwrap(), [other.clone(), one.clone()]);
    assert_eq!(store.find_rotation_wish(&here.id).await.unwrap(), Some(one.clone()));
    let actor = AuditActor { kind: "management_token", id: "m".to_owned() };
    let again = RotationWish { quiet: TokenDuration::parse("1h30m").unwrap(), actor, asked_at: at(9), ..one };
    let put = again.clone();
    change!(store, [put], |tx| tx.put_rotation_wish(&put)).unwrap();
    assert_eq!(store.find_rotation_wish(&here.id).await.unwrap(), Some(again));
    let id = here.id;
    change!(store, [], |tx| tx.delete_rotation_wish(&id)).unwrap();
    assert_eq!(store.find_rotation_wish(&here.id).await.unwrap(), None);
    let outcome = change!(store, [], |tx| tx.delete_rotation_wish(&id));
    assert!(matches!(outcome, Err(Error::Rows { .. })), "{outcome:?}");
}
