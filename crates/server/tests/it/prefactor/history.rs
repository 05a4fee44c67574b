//! Long random histories of API tokens against a model that is too simple to be wrong.

mod model;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use self::model::{Model, Scope, TokenModel};
use crate::world::prefactor::Token;
use crate::world::{Verdict, World, on_sqlite};

/// One step of a history. Numbers pick among what there is.
#[derive(Clone, Debug)]
enum Step {
    Create { scope: usize, lifetime: Option<u64>, key: Option<usize> },
    Act { token: usize, action: usize, key: Option<usize> },
    Environment,
    Agent,
    DeleteEnvironment(usize),
    DeleteAgent(usize),
    DeleteDeployment(usize),
    RotateKey,
    Wait(u64),
    Restart,
}

const ACTIONS: [&str; 4] = ["suspend", "activate", "revoke", "delete"];

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::option::weighted(0.4, 0..4_usize);
    let lifetime = prop::option::of(prop::sample::select(vec![1_u64, 60, 3600, 86_400, 1_000_000]));
    let wait = prop::sample::select(vec![1_u64, 59, 60, 3599, 3600, 86_399, 86_400, 1_000_000, 32_000_000]);
    prop_oneof![
        5 => (0..4_usize, lifetime, key()).prop_map(|(scope, lifetime, key)| Step::Create { scope, lifetime, key }),
        12 => (any::<usize>(), 0..4_usize, key()).prop_map(|(token, action, key)| Step::Act { token, action, key }),
        1 => Just(Step::Environment),
        1 => Just(Step::Agent),
        1 => any::<usize>().prop_map(Step::DeleteEnvironment),
        1 => any::<usize>().prop_map(Step::DeleteAgent),
        1 => any::<usize>().prop_map(Step::DeleteDeployment),
        1 => Just(Step::RotateKey),
        4 => wait.prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// Whatever is asked in whatever order: the answer, the next look, the list, the gate and the other dialect say what the
/// model says.
#[test]
fn tokens_behave_as_the_model_says() {
    let config = Config { cases: 12, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let histories = prop::collection::vec(step(), 50..100);
    TestRunner::new(config)
        .run(&histories, |history| {
            on_sqlite(async |world| {
                // One that outlives every history, to look with.
                let eye =
                    world.prefactor().create(json!({"token_scope": "account", "expires_at": "9999-01-01T00:00:00Z"}));
                let eye = eye.await;
                let mut model = Model::new(&world.environment);
                for step in &history {
                    take(world, &eye, &mut model, step).await;
                    check(world, &eye, &mut model).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

fn pick<T>(all: &[T], number: usize) -> Option<usize> {
    (!all.is_empty()).then(|| number % all.len())
}

async fn take(world: &mut World, eye: &Token, model: &mut Model, step: &Step) {
    let now = world.now();
    match step {
        Step::Create { scope, lifetime, key } => create(world, eye, model, *scope, *lifetime, *key).await,
        Step::Act { token, action, key } => {
            let Some(at) = pick(&model.tokens, *token) else { return };
            act(world, eye, model, at, ACTIONS[*action], *key).await;
        }
        Step::Environment => {
            let caller = world.nobody().with_token(&eye.secret);
            model.environments.push(caller.make("/environment", json!({"name": "x"})).await);
        }
        Step::Agent => {
            let caller = world.nobody().with_token(&eye.secret);
            model.agents.push(caller.make("/agent", json!({"name": "x"})).await);
        }
        Step::DeleteEnvironment(number) => {
            let Some(at) = pick(&model.environments, *number) else { return };
            let id = model.environments.remove(at);
            world.nobody().with_token(&eye.secret).delete(&format!("/environment/{id}")).await.ok();
            model.end(|scope| scope.environment() == Some(&id));
        }
        Step::DeleteAgent(number) => {
            let Some(at) = pick(&model.agents, *number) else { return };
            let id = model.agents.remove(at);
            world.nobody().with_token(&eye.secret).delete(&format!("/agent/{id}")).await.ok();
            model.end(|scope| matches!(scope, Scope::Deployment { agent, .. } if *agent == id));
        }
        Step::DeleteDeployment(number) => {
            let Some(at) = pick(&model.deployments, *number) else { return };
            let (agent, environment, id) = model.deployments[at].clone();
            world.nobody().with_token(&eye.secret).delete(&format!("/agent_deployment/{id}")).await.ok();
            model.end(|scope| *scope == Scope::Deployment { agent: agent.clone(), environment: environment.clone() });
        }
        Step::RotateKey => {
            world.ops().rotate_signing_key(&countersign_server::caller::Caller::Operator).await.unwrap();
        }
        Step::Wait(seconds) => world.advance(Duration::from_secs(*seconds)),
        Step::Restart => world.restart().await,
    }
    assert!(world.now() >= now);
}

async fn create(
    world: &World,
    eye: &Token,
    model: &mut Model,
    scope: usize,
    lifetime: Option<u64>,
    key: Option<usize>,
) {
    // Ids of one millisecond are in no order.
    world.advance(Duration::from_secs(1));
    let environment = pick(&model.environments, scope).map(|at| model.environments[at].clone());
    let agent = pick(&model.agents, scope).map(|at| model.agents[at].clone());
    let scope = match (scope % 3, environment, agent) {
        (1, Some(environment), _) => Scope::Environment(environment),
        (2, Some(environment), Some(agent)) => Scope::Deployment { agent, environment },
        _ => Scope::Account,
    };
    let mut details = scope.details();
    // Not of the moment's making, so that the same key may come with the same body again.
    if let Some(seconds) = lifetime.filter(|_| key.is_none()) {
        details["expires_at"] = json!(world.after(Duration::from_secs(seconds)));
    }
    let mut body = json!({ "details": details });
    if let Some(key) = key {
        body["idempotency_key"] = json!(format!("key {key}"));
    }
    let answer = world.nobody().with_token(&eye.secret).post("/api_token", &body).await;
    let call = format!("POST /api_token {details}");
    if let Some(kept) = model.kept(key, world.now()) {
        if kept.0 == call {
            assert_eq!(answer.text, kept.1, "a replay is the answer of then");
            answer.replayed();
        } else {
            answer.refused(409, "idempotency_key_already_used");
        }
        return;
    }
    model.keep(key, call, &answer, world.now());
    let token = Token::of(answer);
    if let (Scope::Deployment { agent, environment }, Some(id)) =
        (&scope, token.details["agent_deployment_id"].as_str())
    {
        model.deployed(agent, environment, id);
    }
    model.tokens.push(TokenModel::new(token, scope, world.now()));
}

async fn act(world: &World, eye: &Token, model: &mut Model, at: usize, action: &str, key: Option<usize>) {
    let token = model.tokens[at].token.clone();
    let caller = world.nobody().with_token(&eye.secret);
    let body = key.map_or_else(|| json!({}), |key| json!({"idempotency_key": format!("key {key}")}));
    let answer = match action {
        "delete" => caller.call(http::Method::DELETE, &token.path, body.to_string()).await,
        action => caller.post(&format!("{}/{action}", token.path), &body).await,
    };
    let call = format!("{action} {}", token.id);
    if let Some(kept) = model.kept(key, world.now()) {
        if kept.0 == call {
            assert_eq!(answer.text, kept.1, "a replay is the answer of then");
            answer.replayed();
        } else {
            answer.refused(409, "idempotency_key_already_used");
        }
        return;
    }
    match model.tokens[at].act(action, world.now()) {
        Ok(()) => {
            assert!(!answer.is_replay(), "{answer}");
            model.keep(key, call, &answer, world.now());
            let mut details = answer.details();
            details.as_object_mut().unwrap().remove("available_actions");
            if !model.tokens[at].deleted {
                assert_eq!(details, model.tokens[at].shown());
            }
        }
        Err((status, code)) => {
            answer.refused(status, code);
        }
    }
}

async fn check(world: &World, eye: &Token, model: &mut Model) {
    let caller = world.nobody().with_token(&eye.secret);
    let mut listed = caller.get("/api_token?sorting=inserted_at").await.summaries();
    listed.retain(|row| model.tokens.iter().any(|model| row["id"] == *model.token.id));
    let expected: Vec<_> = model.tokens.iter().filter(|token| !token.deleted).map(TokenModel::shown).collect();
    // A page has a hundred rows, and no history is as long.
    assert_eq!(listed, expected);
    let now = world.now();
    let environments: Vec<String> = model.environments.iter().take(2).cloned().collect();
    for model in &mut model.tokens {
        let shown = caller.get(&model.token.path).await;
        if model.deleted {
            shown.refused(404, "not_found");
        } else {
            let mut details = shown.details();
            details.as_object_mut().unwrap().remove("available_actions");
            assert_eq!(details, model.shown());
        }
        match model.admitted(now) {
            Ok(()) => {
                world.assert_good(&model.token).await;
                model.last_used_at = Some(now);
            }
            Err(reason) => world.assert_bad(&model.token, reason).await,
        }
        for environment in &environments {
            let verdict = world.ask_bearer(&format!("environment_id={environment}"), &model.token.secret).await;
            let expected = match model.admitted(now) {
                Err(reason) => Verdict::refused(401, reason),
                Ok(()) if model.scope.environment().is_none_or(|own| own == environment) => Verdict::admitted(),
                Ok(()) => Verdict::refused(403, "not_permitted"),
            };
            assert_eq!(verdict, expected, "{environment} {model:?}");
        }
    }
}
