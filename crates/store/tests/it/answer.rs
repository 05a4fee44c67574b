//! Answers that are kept under idempotency keys.

use countersign_store::{Answer, Error};
use countersign_token::id::AccountId;

use crate::{World, at, change, on_both, write};

on_both! {
    an_answer_is_found_until_it_is_too_old,
    keys_are_an_accounts_own,
    an_answer_is_kept_with_its_change_or_not_at_all,
    old_answers_go,
}

fn answer(mark: u8) -> Answer {
    Answer {
        fingerprint: [mark; 32],
        subject: format!("subject {mark}"),
        answer: format!("{{\"n\":\"{mark} ß\\\"\"}}"),
    }
}

/// The answer under a key that was given after a second.
macro_rules! found {
    ($store:expr, $account:expr, $key:literal, $second:literal) => {{
        let account = $account;
        let found = write!($store, [], |tx| { tx.find_answer(&account, $key, at($second)).await }).await;
        found.map(|written: countersign_store::Written<Option<Answer>>| written.value).map_err(|e: Error| e).unwrap()
    }};
}

/// Keeps an answer at a second.
macro_rules! keep {
    ($store:expr, $account:expr, $key:expr, $answer:expr, $second:expr) => {{
        let (account, answer, second) = ($account, $answer, $second);
        let written =
            write!($store, [answer], |tx| { tx.insert_answer(&account, $key, &answer, at(second)).await }).await;
        written.unwrap()
    }};
}

async fn an_answer_is_found_until_it_is_too_old(world: World) {
    let store = world.open().await;
    let account = AccountId::generate(&world.entropy);
    assert_eq!(found!(store, account, "key", 0), None);
    let written = keep!(store, account, "key", answer(1), 10);
    assert_eq!(written.revision, None, "an answer alone is no change");
    assert_eq!(found!(store, account, "key", 9), Some(answer(1)));
    assert_eq!(found!(store, account, "key", 10), None, "only later ones than that");
    assert_eq!(found!(store, account, "Key", 9), None, "a key is compared to the letter");
    keep!(store, account, "key", answer(2), 20);
    assert_eq!(found!(store, account, "key", 10), Some(answer(2)), "another one takes its place");
    assert_eq!(found!(store, account, "key", 20), None);
}

async fn keys_are_an_accounts_own(world: World) {
    let store = world.open().await;
    let [one, two] = [(); 2].map(|()| AccountId::generate(&world.entropy));
    keep!(store, one, "key", answer(1), 10);
    assert_eq!(found!(store, two, "key", 0), None);
    keep!(store, two, "key", answer(2), 10);
    assert_eq!(found!(store, one, "key", 0), Some(answer(1)));
    assert_eq!(found!(store, two, "key", 0), Some(answer(2)));
}

async fn an_answer_is_kept_with_its_change_or_not_at_all(world: World) {
    let store = world.open().await;
    let account = world.account("one");
    let id = account.id;
    change!(store, [account], |tx| tx.insert_account(&account)).unwrap();
    let agent = world.agent(id);
    let agent_id = agent.id;
    let kept = answer(1);
    let attempt = write!(store, [agent, kept], |tx| {
        tx.insert_agent(&agent).await?;
        tx.insert_answer(&id, "key", &kept, at(10)).await?;
        // There is one already: the whole of it fails.
        tx.insert_agent(&agent).await
    });
    let outcome = attempt.await;
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
    assert_eq!(found!(store, id, "key", 0), None);
    assert_eq!(store.find_agent(&id, &agent_id).await.unwrap(), None);
}

async fn old_answers_go(world: World) {
    let store = world.open().await;
    let account = AccountId::generate(&world.entropy);
    // More than go at once.
    write!(store, [], |tx| {
        for number in 0..1_200 {
            tx.insert_answer(&account, &format!("old {number}"), &answer(1), at(10)).await?;
        }
        tx.insert_answer(&account, "young", &answer(2), at(20)).await
    })
    .await
    .unwrap();
    assert_eq!(store.delete_old_answers(at(10)).await.unwrap(), 0);
    assert_eq!(store.delete_old_answers(at(20)).await.unwrap(), 1_200);
    assert_eq!(found!(store, account, "old 7", 0), None);
    assert_eq!(found!(store, account, "young", 0), Some(answer(2)));
    assert_eq!(store.revision().await.unwrap().get(), 0);
}
