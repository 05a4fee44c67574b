//! Whether a token is good.

use serde_json::json;

use super::Error;
use super::call::Call;
use super::envelope::Answer;
use super::object::members;

pub(super) async fn show(call: Call) -> Result<Answer, Error> {
    let details = json!({"token_type": "api", "account_id": call.account_pfid.to_string()});
    Ok(Answer::details(members(details)))
}
