//! Several calls in one request, each by itself: the first that fails is the last that is made.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::call::Call;
use super::envelope::Answer;
use super::error::{Problem, Problems};
use super::idempotency;
use super::operation::Operation;
use super::{Error, OPERATIONS};
use crate::propagation::Propagation;

/// A bound on how long one request may take.
const ITEMS_MAX: usize = 1000;

pub(super) const NAME: &str = "bulk/execute";

/// One of the calls.
#[derive(Debug)]
struct Item {
    operation: &'static Operation,
    key: String,
    /// Its parameters, the key among them.
    parameters: Map<String, Value>,
}

pub(super) async fn execute(call: Call) -> Result<Answer, Error> {
    let mut fields = call.top();
    let items = fields.required("items", items);
    // The items have keys of their own; one for the whole would say nothing more.
    fields.finish()?;
    let mut outputs = Map::new();
    let mut propagation = None;
    for Item { operation, key, parameters } in items? {
        match run(&call, operation, parameters).await {
            Ok(answer) => {
                outputs.insert(key, Value::Object(answer.body));
                propagation = Propagation::both(propagation, answer.propagation);
            }
            Err(error) => {
                outputs.insert(key, error.body());
                break;
            }
        }
    }
    Ok(Answer { propagation, ..Answer::success([("outputs", Value::Object(outputs))]) })
}

/// Does one item as a request of its own would be done: by now, the caller may have lost their token.
async fn run(call: &Call, operation: &'static Operation, parameters: Map<String, Value>) -> Result<Answer, Error> {
    let mut item = Call::new(call.app.clone(), operation, call.shown.clone(), call.origin.clone())?;
    item.parameters = parameters;
    if let Some(name) = operation.id_name() {
        let problem = match item.parameters.remove(name) {
            Some(Value::String(id)) => {
                item.id = Some(id);
                None
            }
            None | Some(Value::Null) => Some(Problem::Required),
            Some(_) => Some("must be a string".into()),
        };
        if let Some(problem) = problem {
            return Err(Error::Invalid(Problems::of(name, problem)));
        }
    }
    item.run().await
}

fn items(value: &Value) -> Result<Vec<Item>, Problem> {
    let values = value.as_array().filter(|items| (1..=ITEMS_MAX).contains(&items.len()));
    let values = values.ok_or("must be a list of 1 to 1000 items")?;
    let mut keys = HashSet::new();
    let mut items = Vec::with_capacity(values.len());
    let mut problems = Problems::default();
    for (number, value) in values.iter().enumerate() {
        match item(value, &mut keys) {
            Ok(item) => items.push(item),
            Err(problem) => problems.note(number.to_string(), problem),
        }
    }
    if problems.is_empty() { Ok(items) } else { Err(Problem::Within(problems)) }
}

fn item<'v>(value: &'v Value, keys: &mut HashSet<&'v str>) -> Result<Item, Problem> {
    let given = value.as_object().ok_or("must be an object")?;
    let mut problems = Problems::default();
    let operation = match given.get("_type") {
        None | Some(Value::Null) => Err(Problem::Required),
        Some(name) => {
            let known = OPERATIONS.iter().find(|operation| name.as_str() == Some(operation.name));
            known.filter(|known| known.name != NAME).ok_or("must be the name of an operation that is served".into())
        }
    };
    let key = match given.get(idempotency::NAME) {
        None | Some(Value::Null) => Err(Problem::Required),
        Some(key) => match idempotency::key([key]) {
            Ok(Some(parsed)) if parsed.as_str().chars().count() < 8 => Err("must have at least 8 characters".into()),
            Ok(_) => match key.as_str().filter(|key| keys.insert(key)) {
                Some(key) => Ok(key.to_owned()),
                None => Err("must be another one for each item".into()),
            },
            Err(problem) => Err(problem),
        },
    };
    match (operation, key) {
        (Ok(operation), Ok(key)) => {
            let mut parameters = given.clone();
            parameters.remove("_type");
            Ok(Item { operation, key, parameters })
        }
        (operation, key) => {
            if let Err(problem) = operation {
                problems.note("_type", problem);
            }
            if let Err(problem) = key {
                problems.note(idempotency::NAME, problem);
            }
            Err(Problem::Within(problems))
        }
    }
}
