//! Which kind of thing a PFID names: the text itself doesn't say.

use countersign_token::id::{AccountId, Pfid};
use sqlx::AnyConnection;

use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::Tx;

/// A kind of thing that has a PFID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// An account.
    Account,
    /// An API token.
    ApiToken,
    /// An environment.
    Environment,
    /// An agent.
    Agent,
    /// A deployment.
    AgentDeployment,
    /// A user.
    User,
    /// An invitation.
    Invite,
}

impl ObjectKind {
    const ALL: [Self; 7] = [
        Self::Account,
        Self::ApiToken,
        Self::Environment,
        Self::Agent,
        Self::AgentDeployment,
        Self::User,
        Self::Invite,
    ];

    /// The name of the table.
    const fn text(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::ApiToken => "api_token",
            Self::Environment => "environment",
            Self::Agent => "agent",
            Self::AgentDeployment => "agent_deployment",
            Self::User => "app_user",
            Self::Invite => "admin_user_invite",
        }
    }
}

async fn find(connection: &mut AnyConnection, account: &AccountId, id: &Pfid) -> Result<Option<ObjectKind>, Error> {
    let query = sqlx::query(
        "SELECT 'account' FROM account WHERE pfid = $1 AND id = $2 \
         UNION ALL SELECT 'api_token' FROM api_token WHERE id = $1 AND account_id = $2 \
         UNION ALL SELECT 'environment' FROM environment WHERE id = $1 AND account_id = $2 \
         UNION ALL SELECT 'agent' FROM agent WHERE id = $1 AND account_id = $2 \
         UNION ALL SELECT 'agent_deployment' FROM agent_deployment WHERE id = $1 AND account_id = $2 \
         UNION ALL SELECT 'app_user' FROM app_user WHERE pfid = $1 \
         AND id IN (SELECT user_id FROM membership WHERE account_id = $2) \
         UNION ALL SELECT 'admin_user_invite' FROM admin_user_invite WHERE id = $1 AND account_id = $2",
    );
    let row = query.bind(id.to_string()).bind(account.to_string()).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let mut columns = Columns::of("object", &row);
    let text = columns.text()?;
    let kind = ObjectKind::ALL.into_iter().find(|kind| kind.text() == text);
    kind.map(Some).ok_or_else(|| columns.problem("there is no such kind"))
}

impl Store {
    /// The kind of thing that a PFID names in an account, also of what was deleted and is not swept yet. A user is a thing
    /// of every account that it is a member of.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_object(&self, account: &AccountId, id: &Pfid) -> Result<Option<ObjectKind>, Error> {
        find(&mut *self.reader().await?, account, id).await
    }
}

impl Tx {
    /// The kind of thing that a PFID names in an account, also of what was deleted and is not swept yet. A user is a thing
    /// of every account that it is a member of.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn find_object(&mut self, account: &AccountId, id: &Pfid) -> Result<Option<ObjectKind>, Error> {
        self.settle_tokens().await?;
        let found = find(self.reading(), account, id).await;
        self.noting(found)
    }
}
