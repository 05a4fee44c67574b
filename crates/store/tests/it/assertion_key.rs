//! The keys that sign assertions.

use countersign_store::{AssertionKey, Error};
use countersign_token::digest::KeyId;

use crate::{World, at, change, on_both};

on_both! {
    keys_come_back_as_they_went_in,
    the_interval_has_a_default,
}

pub(crate) fn key(id: &str, current: i64) -> AssertionKey {
    AssertionKey {
        id: id.to_owned(),
        published_at: at(1),
        current_at: at(current),
        closed: format!("closed {id}"),
        closed_under: KeyId::FIRST,
        certificate: "-----BEGIN CERTIFICATE-----".to_owned(),
    }
}

async fn keys_come_back_as_they_went_in(world: World) {
    let store = world.open().await;
    assert_eq!(store.list_assertion_keys().await.unwrap(), []);
    let (later, sooner) = (key("a", 20), key("b", 10));
    for key in [&later, &sooner] {
        let key = key.clone();
        change!(store, [key], |tx| tx.insert_assertion_key(&key)).unwrap();
    }
    assert_eq!(store.list_assertion_keys().await.unwrap(), [sooner.clone(), later.clone()]);
    assert_eq!(change!(store, [], |tx| tx.list_assertion_keys()).unwrap(), [sooner.clone(), later.clone()]);

    let closed_under = KeyId::new(2).unwrap();
    let changed = AssertionKey { current_at: at(5), closed: "again".to_owned(), closed_under, ..later };
    let again = changed.clone();
    change!(store, [again], |tx| tx.update_assertion_key(&again)).unwrap();
    assert_eq!(store.list_assertion_keys().await.unwrap(), [changed.clone(), sooner.clone()]);

    let again = changed.clone();
    let twice = change!(store, [again], |tx| tx.insert_assertion_key(&again));
    assert!(twice.is_err(), "{twice:?}");
    change!(store, [], |tx| tx.delete_assertion_key("a")).unwrap();
    assert_eq!(store.list_assertion_keys().await.unwrap(), [sooner]);
    for gone in [
        change!(store, [], |tx| tx.delete_assertion_key("a")),
        change!(store, [changed], |tx| tx.update_assertion_key(&changed)),
    ] {
        assert!(matches!(gone, Err(Error::Rows { expected: 1, actual: 0 })), "{gone:?}");
    }
}

async fn the_interval_has_a_default(world: World) {
    let store = world.open().await;
    let before = store.assertion_key_days().await;
    assert!(matches!(before, Err(Error::Rows { .. })), "{before:?}");
    let installation = world.installation();
    change!(store, [installation], |tx| tx.insert_installation(&installation)).unwrap();
    assert_eq!(store.assertion_key_days().await.unwrap(), 42);
    change!(store, [], |tx| tx.update_assertion_key_days(21)).unwrap();
    assert_eq!(store.assertion_key_days().await.unwrap(), 21);
    assert_eq!(change!(store, [], |tx| tx.assertion_key_days()).unwrap(), 21);
}
