//! Environments: what API tokens can be confined to.

use countersign_store::{Environment, ListColumn, Listed, Order, Page};
use countersign_token::id::EnvironmentId;
use countersign_token::service_token::Patch;
use countersign_token::time::Timestamp;
use serde_json::json;

use super::audit::updated;
use super::commit::{gives, takes_away};
use super::field::{parse_name, parse_patch, parse_text, patched};
use super::idempotency::{Intent, Reply};
use super::pfid::require_unused;
use super::{Error, Ops};
use crate::caller::{Administer, Origin, Permit};

/// What an environment is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is its own name")]
pub enum Purpose {
    #[default]
    Development,
    Staging,
    Testing,
    Production,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Development, Self::Staging, Self::Testing, Self::Production];

    /// The name that the wire and the store know it by.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Testing => "testing",
            Self::Production => "production",
        }
    }

    /// The purpose with this name; `None` if there is none.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.text() == text)
    }
}

/// What a new environment is made of.
#[derive(Clone, Debug)]
pub struct NewEnvironment {
    /// Its id, if the caller has chosen one: of the account's partition, and unused.
    pub id: Option<EnvironmentId>,
    /// What to call it.
    pub name: String,
    /// What to know of it.
    pub description: Option<String>,
    /// What it is for.
    pub purpose: Purpose,
    /// What another system calls it.
    pub external_identifier: Option<String>,
}

/// The fields to change; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateEnvironment {
    /// A new name.
    pub name: Option<String>,
    /// A new description, or none.
    pub description: Patch<String>,
    /// A new purpose.
    pub purpose: Option<Purpose>,
    /// A new name in another system, or none.
    pub external_identifier: Patch<String>,
}

impl UpdateEnvironment {
    fn parse(&self) -> Result<Self, Error> {
        Ok(Self {
            name: self.name.as_deref().map(|name| parse_name("name", name)).transpose()?,
            description: parse_patch("description", &self.description)?,
            purpose: self.purpose,
            external_identifier: parse_patch("external_identifier", &self.external_identifier)?,
        })
    }

    fn of(&self, before: &Environment, now: Timestamp) -> Environment {
        Environment {
            name: self.name.clone().unwrap_or_else(|| before.name.clone()),
            description: patched(before.description.as_ref(), &self.description),
            purpose: self.purpose.map_or_else(|| before.purpose.clone(), |purpose| purpose.text().to_owned()),
            external_identifier: patched(before.external_identifier.as_ref(), &self.external_identifier),
            updated_at: now,
            ..before.clone()
        }
    }
}

/// What people can see of an environment, for the audit log.
fn shown(environment: &Environment) -> serde_json::Value {
    json!({
        "name": environment.name,
        "description": environment.description,
        "purpose": environment.purpose,
        "external_identifier": environment.external_identifier,
    })
}

impl Ops {
    /// Makes an environment.
    pub async fn create_environment(
        &self,
        permit: &Permit<Administer>,
        new: NewEnvironment,
        intent: Option<Intent<Environment>>,
        origin: &Origin,
    ) -> Result<Reply<Environment>, Error> {
        let now = self.clock.now();
        let text = |field, text: Option<String>| text.map(|text| parse_text(field, &text)).transpose();
        let environment = Environment {
            id: self.new_pfid(permit, new.id.as_ref().map(EnvironmentId::as_pfid), now)?.into(),
            account: permit.account(),
            name: parse_name("name", &new.name)?,
            description: text("description", new.description)?,
            purpose: new.purpose.text().to_owned(),
            external_identifier: text("external_identifier", new.external_identifier)?,
            inserted_at: now,
            updated_at: now,
        };
        let mut event =
            self.event_by(permit, "environment.create", ("environment", environment.id.to_string()), origin);
        event.detail = shown(&environment).to_string();
        let subject = environment.id.to_string();
        self.commit_once(permit.account(), subject, intent, gives, move |tx| {
            let (environment, event) = (environment.clone(), event.clone());
            Box::pin(async move {
                require_unused(tx, &environment.account, environment.id.as_pfid()).await?;
                tx.insert_environment(&environment).await?;
                tx.record(event);
                Ok(environment)
            })
        })
        .await
    }

    /// One environment; [`Error::NotFound`] if the account has none of that id.
    pub async fn find_environment(
        &self,
        permit: &Permit<Administer>,
        id: &EnvironmentId,
    ) -> Result<Environment, Error> {
        self.store.find_environment(&permit.account(), id).await?.ok_or(Error::NotFound)
    }

    /// The account's environments.
    pub async fn list_environments(
        &self,
        permit: &Permit<Administer>,
        order: &Order<ListColumn>,
        page: Page,
    ) -> Result<Listed<Environment>, Error> {
        Ok(self.store.list_environments(&permit.account(), order, page).await?)
    }

    /// Merges `update` into an environment.
    pub async fn update_environment(
        &self,
        permit: &Permit<Administer>,
        id: &EnvironmentId,
        update: UpdateEnvironment,
        intent: Option<Intent<Environment>>,
        origin: &Origin,
    ) -> Result<Reply<Environment>, Error> {
        let update = update.parse()?;
        let now = self.clock.now();
        let event = self.event_by(permit, "environment.update", ("environment", id.to_string()), origin);
        let (account, id) = (permit.account(), *id);
        self.commit_once(account, id.to_string(), intent, gives, move |tx| {
            let (update, event) = (update.clone(), event.clone());
            Box::pin(async move {
                let before = tx.find_environment(&account, &id).await?.ok_or(Error::NotFound)?;
                let after = update.of(&before, now);
                let Some(event) = updated(event, &shown(&before), &shown(&after)) else { return Ok(before) };
                tx.update_environment(&after).await?;
                tx.record(event);
                Ok(after)
            })
        })
        .await
    }

    /// Deletes an environment with the deployments in it. Its API tokens are refused everywhere when this returns.
    pub async fn delete_environment(
        &self,
        permit: &Permit<Administer>,
        id: &EnvironmentId,
        intent: Option<Intent<Environment>>,
        origin: &Origin,
    ) -> Result<Reply<Environment>, Error> {
        self.flush_marks().await;
        let now = self.clock.now();
        let event = self.event_by(permit, "environment.delete", ("environment", id.to_string()), origin);
        let (account, id) = (permit.account(), *id);
        self.commit_once(account, id.to_string(), intent, takes_away, move |tx| {
            let event = event.clone();
            Box::pin(async move {
                let environment = tx.find_environment(&account, &id).await?.ok_or(Error::NotFound)?;
                tx.delete_environment(&account, &id, now).await?;
                tx.record(event);
                Ok(environment)
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::Purpose;

    #[test]
    fn purposes_have_names() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::parse(purpose.text()), Some(purpose));
        }
        assert_eq!(Purpose::parse("Production"), None);
    }
}
