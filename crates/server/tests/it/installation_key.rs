//! One installation key takes the place of another: nothing is refused meanwhile, and nothing is left under the old one.

use countersign_server::caller::Caller;
use countersign_server::ops::{Error, Finish, Ops};
use countersign_token::digest::{InstallationKey, KeyId, LiveKeys};
use countersign_token::entropy::Entropy;
use serde_json::json;

use crate::world::{DAY, HOUR, Issued, World, on_both};

const OPERATOR: Caller = Caller::Operator;

fn key(seed: u64) -> InstallationKey {
    InstallationKey::generate(&Entropy::seeded(seed))
}

/// What a process does that finds the key in its file.
fn find(ops: &Ops, id: KeyId, seed: u64) {
    let live = LiveKeys { next: Some(id), ..ops.keys().live() };
    ops.keys().adopt(live, vec![key(seed).with_id(id)]).unwrap();
}

/// Everything that was handed out, and is good.
struct Good {
    tokens: Vec<(Issued, Vec<String>)>,
    bearers: Vec<String>,
}

impl Good {
    /// A service token with a secret before the current one, one that was never rotated, and API tokens.
    async fn issue(world: &World) -> Self {
        let (rotated, plain) = (world.issue_default().await, world.issue_default().await);
        let until = world.after(10 * DAY);
        let body = json!({ "previous_client_secret_expires_at": until });
        let path = format!("{}/rotate", rotated.path);
        let new = world.writer().post(&path, &body).await.ok()["client_secret"].as_str().unwrap().to_owned();
        let secrets = vec![new, rotated.secret.clone()];
        let own = vec![plain.secret.clone()];
        let (one, other) = (world.token().await, world.environment_token(&world.environment).await);
        Self {
            tokens: vec![(rotated, secrets), (plain, own)],
            bearers: vec![world.account_token().to_owned(), one.secret, other.secret],
        }
    }

    /// Every way in which something is admitted.
    async fn assert(&self, world: &World) {
        for (token, secrets) in &self.tokens {
            for secret in secrets {
                world.assert_admitted_with(token, secret).await;
            }
            world.assert_refused(token, "csec_0000000000000000000000000000000000000000000000", "invalid").await;
        }
        for bearer in &self.bearers {
            let says = world.ask_bearer(&format!("account_id={}", world.account), bearer).await;
            assert_ne!(says.status, 401, "{says:?}");
        }
        for actor in world.writers() {
            actor.get(&world.tokens()).await.ok();
        }
        assert_eq!(world.prefactor().get("/ping").await.status, 200);
        world.owner_key().get(&world.tokens()).await.ok();
    }
}

/// What the server's own task does every other second.
async fn rekey(world: &World) -> u64 {
    let app = &world.server().app;
    app.ops.rekey(app.index.take_old_digests()).await.unwrap() + app.ops.rekey_api_tokens().await.unwrap()
}

async fn until_held(outside: &Ops, id: KeyId) {
    while outside.store().list_nodes().await.unwrap().iter().any(|node| node.installation_key != id) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn nothing_is_refused_while_the_key_changes() {
    on_both(async |world| {
        let world = &*world;
        let outside = world.open_outside().await;
        let ops = &outside.ops;
        let good = Good::issue(world).await;
        ops.tend_assertion_keys().await.unwrap();
        let assertion_key = ops.store().list_assertion_keys().await.unwrap().remove(0);
        let unseen = world.issue_default().await;
        let actor = world.writer().with("idempotency-key", "before");
        let kept = actor.post(&world.tokens(), &json!({"name": "kept"})).await.created();

        let changing = async {
            let Err(Error::Conflict(words)) = ops.rotate_installation_key(&OPERATOR).await else { panic!("no key") };
            assert!(words.contains("prepare"), "{words}");
            let next = ops.prepare_installation_key(&OPERATOR, &key(70), false).await.unwrap();
            let refused = ops.prepare_installation_key(&OPERATOR, &key(71), false).await;
            assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
            let next = {
                // The first one was lost on its way.
                let again = ops.prepare_installation_key(&OPERATOR, &key(72), true).await.unwrap();
                assert!(again > next);
                again
            };
            find(ops, next, 72);
            let Err(Error::Conflict(words)) = ops.rotate_installation_key(&OPERATOR).await else { panic!("no server") };
            assert!(words.contains("do not hold"), "{words}");
            find(&world.server().app.ops, next, 72);
            until_held(ops, next).await;
            assert_eq!(ops.rotate_installation_key(&OPERATOR).await.unwrap(), next);
            next
        };
        let traffic = async {
            loop {
                good.assert(world).await;
                tokio::task::yield_now().await;
            }
        };
        let next = tokio::select! { next = changing => next, () = traffic => unreachable!("it goes on") };
        assert_eq!(
            world.server().app.ops.keys().live(),
            LiveKeys { before: Some(KeyId::FIRST), current: next, next: None }
        );

        // What is made from here on stands under the new key; what was made before is repeated as it was.
        let new = Good::issue(world).await;
        let again = actor.post(&world.tokens(), &json!({"name": "kept"})).await;
        assert!(again.is_replay());
        assert_eq!(again.created()["client_secret"], kept["client_secret"]);
        good.assert(world).await;
        let before = KeyId::FIRST;
        let count = async || ops.store().count_standing(before, world.now()).await.unwrap();
        assert!(count().await.service_tokens >= 4 && count().await.api_tokens >= 3 && count().await.users >= 2);

        // Everything that is seen moves; half of it at first.
        assert!(rekey(world).await > 0);
        good.assert(world).await;
        new.assert(world).await;
        rekey(world).await;
        assert_eq!(rekey(world).await, 0, "what has moved is not moved again");
        let left = count().await;
        assert_eq!((left.api_tokens, left.previous_secrets), (0, 0));
        assert_eq!(left.service_tokens, 2, "one was never seen, nor was the one that was made under a key");

        // Not yet: something would be void.
        assert!(matches!(ops.finish_installation_key(&OPERATOR, false).await.unwrap(), Finish::Remains(remains)
            if remains.answers_until.is_some() && remains.standing == left));
        world.assert_admitted(&unseen).await;
        rekey(world).await;
        world.advance(DAY + HOUR);
        let refused = world.issue(&world.tokens(), json!({"name": "x"})).await;
        world.assert_admitted(&refused).await;
        assert!(matches!(ops.finish_installation_key(&OPERATOR, true).await.unwrap(), Finish::Done(remains)
            if remains.standing.service_tokens == 1 && remains.answers_until.is_none()));
        ops.forget_old_digests(&OPERATOR).await.unwrap();
        assert!(matches!(ops.finish_installation_key(&OPERATOR, true).await, Err(Error::Conflict(_))));
        good.assert(world).await;
        new.assert(world).await;
        world.assert_admitted(&unseen).await;

        // The new key alone is enough, for everything that there is.
        let live = LiveKeys { before: None, current: next, next: None };
        assert_eq!(world.server().app.ops.keys().live(), live);
        assert!(world.server().app.ops.keys().find(before).is_none());
        let chain = world.server().app.ops.store().verify_audit_chain(&mut |_| ()).await.unwrap();
        assert_eq!(chain.broken, None);
        assert_eq!(world.browser().open("/cli/connect").await.status, 200);
        let closed = ops.store().list_assertion_keys().await.unwrap().remove(0);
        assert_eq!((&closed.id, closed.closed_under), (&assertion_key.id, next));
        assert_ne!(closed.closed, assertion_key.closed);
        world.ops().begin_assertion_keys().await.unwrap();
        outside.close().await;
    });
}
