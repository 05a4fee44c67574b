//! The caller's account. There is no other for an API token.

use countersign_store::{Account, Listed};
use countersign_token::id::Pfid;
use serde_json::{Map, Value, json};

use super::Error;
use super::call::Call;
use super::envelope::Answer;
use super::fields::{name, string};
use super::object::{Object, kept, members};
use super::sorting;
use crate::ops::UpdateAccount;

impl Object for Account {
    const IN_ACCOUNT: bool = false;

    fn summary(&self) -> Map<String, Value> {
        members(json!({
            "type": "account",
            "id": self.pfid.to_string(),
            "name": self.name,
            "organisation_name": self.organisation_name,
            "purpose": self.purpose,
        }))
    }
}

pub(super) async fn list(call: Call) -> Result<Answer, Error> {
    let list = call.list(sorting::OTHER)?;
    let permit = call.permit(list.account).await?;
    let mut rows = vec![call.app.ops.find_own_account(&permit).await?];
    if list.pagination.page().offset > 0 {
        rows.clear();
    }
    Ok(call.listed(&list, &Listed { rows, total: 1 }))
}

/// The path must name the caller's account: no other can be found.
fn require_own(call: &Call) -> Result<(), Error> {
    if call.id::<Pfid>()? == *call.account_pfid.as_pfid() { Ok(()) } else { Err(Error::NotFound) }
}

pub(super) async fn show(call: Call) -> Result<Answer, Error> {
    let permit = call.permit(None).await?;
    require_own(&call)?;
    Ok(call.found(&call.app.ops.find_own_account(&permit).await?))
}

pub(super) async fn update(call: Call) -> Result<Answer, Error> {
    let mut fields = call.details();
    let name = fields.optional("name", name);
    let organisation_name = fields.patch("organisation_name", string);
    let purpose = fields.optional("purpose", string);
    let key = fields.finish()?;
    let permit = call.permit(None).await?;
    require_own(&call)?;
    let update = UpdateAccount { name: name?, organisation_name: organisation_name?, purpose: purpose? };
    call.changed(call.app.ops.update_account(&permit, update, call.intent(key, kept), &call.origin).await?)
}
