//! The objects of the dialect. Each handler's file says how its own is written.

use serde_json::{Map, Value};

/// What a list shows, and what is shown of one.
///
/// Neither holds the id of the account, which the call knows: this is also what is kept for a replay.
pub(super) trait Object {
    /// Whether the object is shown with the id of its account.
    const IN_ACCOUNT: bool = true;

    /// The object in a list.
    fn summary(&self) -> Map<String, Value>;

    /// The object alone.
    fn details(&self) -> Map<String, Value> {
        self.summary()
    }
}

/// What is kept for a replay.
pub(super) fn kept<T: Object>(object: &T) -> String {
    Value::Object(object.details()).to_string()
}

/// The members of an object that was written as JSON.
pub(super) fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
