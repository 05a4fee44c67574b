//! A call of an operation: who calls, and with which parameters.

use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use countersign_store::Listed;
use countersign_token::id::{AccountId, AccountPfid, Pfid};
use countersign_token::index::Detail;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::Error;
use super::authentication::Shown;
use super::envelope::Answer;
use super::error::{Problem, Problems};
use super::fields::{DETAILS, Fields, List};
use super::idempotency::{self, Intention};
use super::object::Object;
use super::operation::Operation;
use super::query;
use super::sorting::Columns;
use crate::body::{Arrived, Unread};
use crate::caller::{Administer, Caller, Origin, Permit, Place};
use crate::management::{App, access};
use crate::ops::{IdempotencyKey, Intent, Outcome, Reply};

/// A call of an operation, by a request or by an item of a bulk call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) shown: Shown,
    caller: Caller,
    /// The caller's account.
    pub(super) account: AccountId,
    pub(super) account_pfid: AccountPfid,
    pub(super) origin: Origin,
    operation: &'static Operation,
    /// The id in the path, as it stands there.
    pub(super) id: Option<String>,
    pub(super) parameters: Map<String, Value>,
    /// Idempotency keys that stand outside the parameters.
    keys: Vec<Value>,
}

/// Answers a request for an operation.
pub(super) async fn serve(app: App, operation: &'static Operation, request: Request) -> Result<Answer, Error> {
    let (mut parts, _) = request.into_parts();
    let Ok(origin) = Origin::from_request_parts(&mut parts, &()).await;
    let mut call = Call::new(app, operation, Shown::from_headers(&parts.headers), origin)?;
    access::note_caller(&parts.extensions, &call.caller);
    access::note_account(&parts.extensions, call.account);
    let mut query = query::parse(parts.uri.query().unwrap_or_default())?;
    let keys = idempotency::beside_the_body(&mut query, &parts.headers);
    if operation.reads() {
        call.parameters = query;
    } else {
        call.parameters = body(&parts)?;
        call.keys = keys;
    }
    call.id = id(&mut parts).await;
    call.run().await
}

/// The body, which must be a JSON object. No body at all is as good as `{}`, and the content type is not asked for.
fn body(parts: &Parts) -> Result<Map<String, Value>, Error> {
    let body = match parts.extensions.get::<Arrived>() {
        Some(Arrived(Ok(body))) => body,
        Some(Arrived(Err(Unread::TooLarge))) => return Err(Error::TooLarge),
        Some(Arrived(Err(Unread::TooSlow))) => return Err(Error::TooSlow),
        Some(Arrived(Err(Unread::CutShort))) => {
            return Err(Error::BadRequest("The body ended before its announced length"));
        }
        // The listener's layer puts it there.
        None => return Err(Error::Internal),
    };
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(parameters)) => Ok(parameters),
        Ok(_) => Err(Error::BadRequest("The body must be a JSON object")),
        Err(_) => Err(Error::BadRequest("The body is not JSON")),
    }
}

/// The id in the path. One that is no UTF-8 names nothing, as the empty one.
async fn id(parts: &mut Parts) -> Option<String> {
    let Ok(segments) = RawPathParams::from_request_parts(parts, &()).await else { return Some(String::new()) };
    segments.iter().next().map(|(_, id)| id.to_owned())
}

impl Call {
    /// A call without parameters, if whoever shows a token may call at all.
    pub(super) fn new(app: App, operation: &'static Operation, shown: Shown, origin: Origin) -> Result<Self, Error> {
        let caller = shown.authenticate(&app, origin.address)?;
        let account = match &caller {
            Caller::Holder(detail) => match detail.as_ref() {
                Detail::ApiToken { account, .. } => *account,
                Detail::ServiceToken { .. } | Detail::ManagementToken { .. } | Detail::User { .. } => {
                    return Err(Error::Internal);
                }
            },
            Caller::Operator => return Err(Error::Internal),
        };
        // Accounts come into the index before their tokens, and stay.
        let account_pfid = app.index.account_pfid(&account).ok_or(Error::Internal)?;
        let (id, parameters, keys) = (None, Map::new(), Vec::new());
        Ok(Self { app, shown, caller, account, account_pfid, origin, operation, id, parameters, keys })
    }

    pub(super) async fn run(self) -> Result<Answer, Error> {
        (self.operation.handler)(self).await
    }

    /// The parameters at the top.
    pub(super) fn top(&self) -> Fields<'_> {
        Fields::top(&self.parameters, &self.keys)
    }

    /// The parameters within `details`.
    pub(super) fn details(&self) -> Fields<'_> {
        Fields::details(&self.parameters, &self.keys)
    }

    /// The parameters of a list that has no others.
    pub(super) fn list<C: Copy>(&self, columns: Columns<C>) -> Result<List<C>, Error> {
        let mut fields = self.top();
        let list = fields.list(columns);
        fields.finish()?;
        Ok(list?)
    }

    /// The right to administer the caller's account, where the call is for that account: `account`, if it names one.
    pub(super) async fn permit(&self, account: Option<Pfid>) -> Result<Permit<Administer>, Error> {
        let permit = self.caller.permit(&self.app.index, Place::Account(self.account))?;
        self.is_for_own_account(account).await?;
        Ok(permit)
    }

    /// Whether the call is for the caller's account. Other accounts are as unknown ids: nobody learns which exist.
    pub(super) async fn is_for_own_account(&self, account: Option<Pfid>) -> Result<(), Error> {
        let Some(id) = account.filter(|id| id != self.account_pfid.as_pfid()) else { return Ok(()) };
        if self.operation.reads() || self.app.ops.find_object(&self.account, &id).await?.is_none() {
            return Err(Error::NotPermitted);
        }
        let mut problems = Problems::default();
        if self.parameters.contains_key(DETAILS) {
            problems.note_within(DETAILS, ACCOUNT_ID, Problem::RefType);
        } else {
            problems.note(ACCOUNT_ID, Problem::RefType);
        }
        Err(Error::Invalid(problems))
    }

    /// The id in the path. A malformed one names nothing.
    pub(super) fn id<T: From<Pfid>>(&self) -> Result<T, Error> {
        let id = self.id.as_deref().and_then(|id| id.parse::<Pfid>().ok());
        id.map(T::from).ok_or(Error::NotFound)
    }

    /// What the caller means by a key.
    pub(super) fn intent<T>(&self, key: Option<IdempotencyKey>, answer: fn(&T) -> String) -> Option<Intent<T>> {
        let actor = self.caller.actor();
        let intention = Intention {
            method: &self.operation.method,
            path: self.operation.path,
            id: self.id.as_deref(),
            parameters: &self.parameters,
            actor: (actor.kind, &actor.id),
        };
        key.map(|key| Intent { key, fingerprint: intention.fingerprint(), answer, sealed_by: None })
    }

    /// The answer that shows one object.
    pub(super) fn found<T: Object>(&self, object: &T) -> Answer {
        Answer::details(self.placed::<T>(object.details()))
    }

    /// The answer to a change.
    pub(super) fn changed<T: Object>(&self, reply: Reply<T>) -> Result<Answer, Error> {
        let (details, replayed) = match reply.outcome {
            Outcome::Done(object) => (object.details(), false),
            Outcome::Replayed(replay) => (kept(replay.answer.expose())?, true),
        };
        let answer = Answer::details(self.placed::<T>(details));
        Ok(Answer { replayed, propagation: reply.propagation, ..answer })
    }

    /// The answer that shows a part of a list.
    pub(super) fn listed<T: Object, C: Copy>(&self, list: &List<C>, listed: &Listed<T>) -> Answer {
        let summaries = listed.rows.iter().map(|object| Value::Object(self.placed::<T>(object.summary())));
        Answer::success([
            ("summaries", summaries.collect()),
            ("pagination", list.pagination.render(listed.total)),
            ("sorting", list.sorting.render()),
        ])
    }

    /// An object with the id of its account, which is the caller's.
    fn placed<T: Object>(&self, mut object: Map<String, Value>) -> Map<String, Value> {
        if T::IN_ACCOUNT {
            object.insert(ACCOUNT_ID.to_owned(), json!(self.account_pfid.to_string()));
        }
        object
    }
}

const ACCOUNT_ID: &str = "account_id";

/// What is kept of an earlier answer.
pub(super) fn kept<T: serde::de::DeserializeOwned>(answer: &str) -> Result<T, Error> {
    match serde_json::from_str(answer) {
        Ok(kept) => Ok(kept),
        Err(error) => {
            tracing::error!(error = %error, "a kept answer can't be read");
            Err(Error::Internal)
        }
    }
}
