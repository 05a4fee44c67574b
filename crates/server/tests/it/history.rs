//! Long random histories of requests against models that are too simple to be wrong.

mod model;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use self::model::Model;
use crate::world::{World, on_sqlite};

/// One step of the history of a token.
#[derive(Clone, Debug)]
enum Step {
    Create(Fields),
    Update(usize, Fields),
    Rotate(usize, Option<Option<i64>>),
    Refresh(usize),
    Delete(usize),
    Wait(u64),
    Restart,
}

/// Some of a body's fields; `Some(None)` is an explicit `null`. Times are seconds from the moment of the request.
#[derive(Clone, Debug, Default)]
struct Fields {
    name: Option<Option<&'static str>>,
    duration: Option<Option<&'static str>>,
    enabled: Option<Option<bool>>,
    version: Option<Option<u32>>,
    previous: Option<Option<i64>>,
}

impl Fields {
    fn body(&self, world: &World) -> Value {
        let mut body = json!({});
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        set("name", self.name.map(|name| json!(name)));
        set("duration", self.duration.map(|duration| json!(duration)));
        set("enabled", self.enabled.map(|enabled| json!(enabled)));
        set("client_secret_version", self.version.map(|version| json!(version)));
        set("previous_client_secret_expires_at", self.previous.map(|at| previous(world, at)));
        body
    }
}

fn previous(world: &World, at: Option<i64>) -> Value {
    at.map_or(Value::Null, |seconds| {
        let at = world.now().as_micros() + seconds * 1_000_000;
        json!(countersign_token::time::Timestamp::from_micros(at).to_string())
    })
}

fn given<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<Option<T>>> {
    prop_oneof![5 => Just(None), 1 => Just(Some(None)), 4 => value.prop_map(|value| Some(Some(value)))].boxed()
}

/// Seconds around the lengths of time that histories wait.
fn seconds() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(-1_000_000),
        Just(-1),
        Just(0),
        Just(1),
        Just(50),
        Just(4000),
        Just(1_000_000_000),
        -5000..5000_i64
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    let names = prop::sample::select(vec!["a", "b", "ü"]);
    let durations = prop::sample::select(vec!["1h", "60m", "8760h", "17520h", "forever", "1.5s", "1ns", "+2h"]);
    (given(names), given(durations), given(any::<bool>()), given(0..6_u32), given(seconds()))
        .prop_map(|(name, duration, enabled, version, previous)| Fields { name, duration, enabled, version, previous })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => fields().prop_map(Step::Create),
        8 => (0..4_usize, fields()).prop_map(|(token, fields)| Step::Update(token, fields)),
        4 => (0..4_usize, given(seconds())).prop_map(|(token, previous)| Step::Rotate(token, previous)),
        2 => (0..4_usize).prop_map(Step::Refresh),
        1 => (0..4_usize).prop_map(Step::Delete),
        5 => prop_oneof![Just(1), Just(999_999), Just(1_000_000), Just(3_600_000_000), Just(40_000_000_000_000), 0..10_000_000_000_u64].prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })
}

/// Whatever is asked in whatever order: the answer, the next read, the list and the gate say what the model says, and
/// the secrets of the past are worth what it says they are worth.
#[test]
fn tokens_behave_as_the_model_says() {
    let histories = prop::collection::vec(step(), 60..120);
    runner(10)
        .run(&histories, |history| {
            on_sqlite(async |world| {
                let mut models: Vec<Model> = Vec::new();
                for step in &history {
                    take(world, &mut models, step).await;
                    check(world, &models).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

async fn take(world: &mut World, models: &mut Vec<Model>, step: &Step) {
    let now = world.now();
    let tokens = world.tokens();
    let pick = |models: &Vec<Model>, token: usize| (!models.is_empty()).then(|| token % models.len());
    match step {
        Step::Create(fields) => {
            world.advance(Duration::from_millis(1));
            let mut body = fields.body(world);
            if body.get("name").is_none_or(Value::is_null) {
                body["name"] = json!("x");
            }
            let created = world.writer().post(&tokens, &body).await.created();
            models.push(Model::create(&body, &created, world.now()));
            models.last().unwrap().assert_shown(&created);
        }
        Step::Update(token, fields) => {
            let Some(token) = pick(models, *token) else { return };
            let body = fields.body(world);
            let answer = world.writer().put(&format!("{tokens}/{}", models[token].id), &body).await.ok();
            models[token].update(&body, &answer, now);
            models[token].assert_shown(&answer);
        }
        Step::Rotate(token, at) => {
            let Some(token) = pick(models, *token) else { return };
            let body =
                at.map_or_else(|| json!({}), |at| json!({"previous_client_secret_expires_at": previous(world, at)}));
            let answer = world.writer().post(&format!("{tokens}/{}/rotate", models[token].id), &body).await.ok();
            models[token].rotate(&body, &answer, now);
            models[token].assert_shown(&answer);
        }
        Step::Refresh(token) => {
            let Some(token) = pick(models, *token) else { return };
            let answer = world.writer().act(&format!("{tokens}/{}/refresh", models[token].id)).await.ok();
            models[token].refresh(now);
            models[token].assert_shown(&answer);
        }
        Step::Delete(token) => {
            let Some(token) = pick(models, *token) else { return };
            let model = models.remove(token);
            let answer = world.writer().delete(&format!("{tokens}/{}", model.id)).await.ok();
            model.assert_shown(&answer);
            world.reader().get(&format!("{tokens}/{}", model.id)).await.refused(404, 12135);
            for secret in model.secrets() {
                assert_eq!(world.admits(&model.client_id, secret).await, Err("invalid".to_owned()));
            }
        }
        Step::Wait(micros) => world.advance(Duration::from_micros(*micros)),
        Step::Restart => world.restart().await,
    }
}

async fn check(world: &World, models: &[Model]) {
    let list = world.reader().get(&world.tokens()).await.ok();
    assert_eq!(list.as_array().unwrap().len(), models.len());
    for (listed, model) in list.as_array().unwrap().iter().zip(models) {
        model.assert_shown(listed);
    }
    for model in models {
        let read = world.reader().get(&format!("{}/{}", world.tokens(), model.id)).await.ok();
        model.assert_shown(&read);
        for secret in model.secrets() {
            let expected = model.admits(secret, world.now());
            assert_eq!(world.admits(&model.client_id, secret).await, expected.map_err(str::to_owned), "{model:?}");
        }
        assert_eq!(world.admits(&model.client_id, "wrong").await, Err("invalid".to_owned()));
    }
}

/// One step of the history of a list.
#[derive(Clone, Debug)]
enum ListStep {
    Create(usize),
    Delete(usize),
    Page { page: usize, per_page: usize },
    Named(&'static str, usize),
}

/// Whoever reads which page when: it holds the rows that counting from the first one gives.
#[test]
fn pages_are_what_counting_gives() {
    let step = prop_oneof![
        2 => (1..8_usize).prop_map(ListStep::Create),
        2 => any::<usize>().prop_map(ListStep::Delete),
        8 => (1..12_usize, 1..6_usize).prop_map(|(page, per_page)| ListStep::Page { page, per_page }),
        1 => (prop::sample::select(vec!["a", "b", "c"]), 1..4_usize).prop_map(|(name, page)| ListStep::Named(name, page)),
    ];
    let histories = prop::collection::vec(step, 150..300);
    runner(6)
        .run(&histories, |history| {
            on_sqlite(async |world| {
                let mut model: Vec<(String, &str)> = Vec::new();
                for step in &history {
                    take_list_step(world, &mut model, step).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

async fn take_list_step(world: &World, model: &mut Vec<(String, &'static str)>, step: &ListStep) {
    let tokens = world.tokens();
    let (query, expected): (String, Vec<&(String, &str)>) = match step {
        ListStep::Create(count) => {
            let names = ["a", "b", "c"].into_iter().cycle().skip(model.len() % 3).take(*count);
            let issued = world.issue_many(&tokens, names.clone().map(|name| json!({"name": name}))).await;
            model.extend(issued.into_iter().map(|token| token.id).zip(names));
            return;
        }
        ListStep::Delete(token) => {
            if !model.is_empty() {
                let (id, _) = model.remove(token % model.len());
                world.writer().delete(&format!("{tokens}/{id}")).await.ok();
            }
            return;
        }
        ListStep::Page { page, per_page } => (
            format!("page={page}&per_page={per_page}"),
            model.iter().skip((page - 1) * per_page).take(*per_page).collect(),
        ),
        ListStep::Named(name, page) => {
            let named = model.iter().filter(|(_, known)| known == name);
            (format!("name={name}&per_page=3&page={page}"), named.skip((page - 1) * 3).take(3).collect())
        }
    };
    let list = world.reader().get(&format!("{tokens}?{query}")).await.ok();
    let got: Vec<&str> = list.as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap()).collect();
    assert_eq!(got, expected.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), "{query}");
}

/// How a byte of a query may be written.
fn encoded(text: &str, choices: &[u8]) -> String {
    let mut query = String::new();
    for (byte, choice) in text.bytes().zip(choices.iter().cycle()) {
        match (byte, choice % 3) {
            (b' ', 0) => query.push('+'),
            (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', 0 | 1) => {
                query.push(char::from(byte))
            }
            (byte, 1) => query.push_str(&format!("%{byte:02x}")),
            (byte, _) => query.push_str(&format!("%{byte:02X}")),
        }
    }
    query
}

/// However a client writes a name into a query, it finds the token of that name, and a search for any part of it too.
#[test]
fn queries_are_decoded() {
    let name = prop::collection::vec(any::<char>().prop_filter("no U+0000", |c| *c != '\0'), 1..40);
    let names = prop::collection::vec((name, prop::collection::vec(any::<u8>(), 1..20), any::<usize>()), 20..40);
    runner(4)
        .run(&names, |names| {
            on_sqlite(async |world| {
                for (name, choices, from) in &names {
                    let text: String = name.iter().collect();
                    let token = world.issue(&world.tokens(), json!({"name": text})).await;
                    assert_eq!(token.result["name"], text);
                    let path = format!("{}?name={}", world.tokens(), encoded(&text, choices));
                    let found = world.reader().get(&path).await.ok();
                    assert!(found.as_array().unwrap().iter().any(|found| found["id"] == token.id), "{path}");
                    assert!(found.as_array().unwrap().iter().all(|found| found["name"] == text), "{path}");
                    let part: String = name[from % name.len()..].iter().collect();
                    let path = format!("{}?search={}", world.tokens(), encoded(&part, choices));
                    let found = world.reader().get(&path).await.ok();
                    assert!(found.as_array().unwrap().iter().any(|found| found["id"] == token.id), "{path} {text:?}");
                }
            });
            Ok(())
        })
        .unwrap();
}
