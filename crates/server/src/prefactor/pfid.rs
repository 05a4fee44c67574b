//! New ids, for callers who name their objects themselves.

use countersign_token::id::Pfid;
use serde_json::{Value, json};

use super::Error;
use super::call::{self, Call};
use super::envelope::Answer;
use super::error::Problem;
use super::fields::{pfid, whole_number};
use crate::ops::Outcome;

pub(super) async fn generate(call: Call) -> Result<Answer, Error> {
    let mut fields = call.top();
    let account = fields.optional("account_id", pfid);
    let count = fields.required("count", count);
    let key = fields.finish()?;
    // Every token may do this, whatever its scope: it changes nothing.
    call.is_for_own_account(account?).await?;
    let intent = call.intent(key, |ids: &Vec<Pfid>| texts(ids).to_string());
    let reply = call.app.ops.generate_pfids(&call.account, &call.account_pfid, count?, intent).await?;
    let (ids, replayed) = match reply.outcome {
        Outcome::Done(ids) => (texts(&ids), false),
        Outcome::Replayed(replay) => (call::kept(replay.answer.expose())?, true),
    };
    let answer = Answer::success([("account_id", json!(call.account_pfid.to_string())), ("pfids", ids)]);
    Ok(Answer { replayed, propagation: reply.propagation, ..answer })
}

fn texts(ids: &[Pfid]) -> Value {
    ids.iter().map(|id| Value::from(id.to_string())).collect()
}

fn count(value: &Value) -> Result<u32, Problem> {
    let count = whole_number(value).and_then(|count| u32::try_from(count).ok());
    count.filter(|count| (1..=1000).contains(count)).ok_or_else(|| "must be a whole number from 1 to 1000".into())
}
