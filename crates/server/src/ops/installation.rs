//! The first write of all: what `init` makes.

use countersign_store::{
    Account, ApiToken, AuditActor, Environment, Installation, ManagementToken, Membership, User, Zone,
};
use countersign_token::digest::BearerKind;
use countersign_token::feed::{Grant, TokenOwner};
use countersign_token::id::{
    AccountId, AccountPfid, EnvironmentId, InstallationId, ManagementTokenId, Pfid, UserId, UserPfid, ZoneId,
};
use countersign_token::permission::Permission;
use countersign_token::secret::Secret;
use serde_json::json;

use super::user::parse_email;
use super::{Error, Ops, parse_name};
use crate::caller::Origin;

/// The name of the first account.
const ACCOUNT_NAME: &str = "Default";

/// The name and the purpose of an account's first environment.
pub(super) const ENVIRONMENT_NAME: &str = "development";

/// What a new installation is made of.
#[derive(Clone, Debug)]
pub struct NewInstallation {
    /// The first user, who owns the installation.
    pub email: String,
    /// The name of the first zone.
    pub zone_name: String,
}

/// A new installation, with the secrets that are shown this once.
#[derive(Debug)]
pub struct Initialised {
    /// The first account.
    pub account: Account,
    /// Its first zone.
    pub zone: Zone,
    /// Its first environment.
    pub environment: Environment,
    /// The first user.
    pub user: User,
    /// The user's global API key.
    pub api_key: Secret,
    /// A management token of the user's, with every permission on the account.
    pub api_token: Secret,
    /// An account-scoped API token.
    pub account_token: Secret,
}

impl Ops {
    /// Makes the installation; [`Error::Store`] if there is one, and then nothing has changed.
    pub async fn initialise(&self, new: &NewInstallation) -> Result<Initialised, Error> {
        let email = parse_email(&new.email)?;
        let zone_name = parse_name("zone", &new.zone_name)?;
        let now = self.clock.now();
        let entropy = &self.entropy;
        let installation = Installation {
            id: InstallationId::generate(entropy),
            created_at: now,
            max_staleness: Installation::MAX_STALENESS,
        };

        let pfid = AccountPfid::from(Pfid::generate_root(now, entropy));
        let partition = pfid.as_pfid().partition();
        let account =
            Account { id: AccountId::generate(entropy), pfid, name: ACCOUNT_NAME.to_owned(), created_at: now };
        let zone = Zone { id: ZoneId::generate(entropy), account: account.id, name: zone_name, created_at: now };
        let environment = Environment {
            id: EnvironmentId::generate(now, partition, entropy),
            account: account.id,
            name: ENVIRONMENT_NAME.to_owned(),
            purpose: ENVIRONMENT_NAME.to_owned(),
            created_at: now,
            deleted_at: None,
        };
        let api_key = Secret::global_key(entropy);
        let user = User {
            id: UserId::generate(entropy),
            pfid: UserPfid::generate(now, partition, entropy),
            email,
            key_digest: self.digest_key.bearer(BearerKind::GlobalKey, api_key.expose()),
            installation_owner: true,
            created_at: now,
        };
        let api_token = Secret::management_token(entropy);
        let management_token = ManagementToken {
            id: ManagementTokenId::generate(entropy),
            owner: TokenOwner::User(user.id),
            name: "initial".to_owned(),
            digest: self.digest_key.bearer(BearerKind::ManagementToken, api_token.expose()),
            grants: vec![Grant { account: account.id, permission: Permission::Everything }],
            created_at: now,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        let (account_row, account_token) = self.account_token(installation.id, &account, Some(user.pfid), now);

        let operator = AuditActor { kind: "operator", id: String::new() };
        let subject = ("installation", installation.id.to_string());
        let mut event = self.event(&operator, "installation.create", subject, &Origin::default());
        event.detail = json!({ "account": account.name, "zone": zone.name, "email": user.email }).to_string();
        let rows = Rows {
            installation,
            account: account.clone(),
            zone: zone.clone(),
            environment: environment.clone(),
            user: user.clone(),
            management_token,
            api_token: account_row,
        };
        let written = self
            .store
            .write(move |tx| {
                let (rows, event) = (rows.clone(), event.clone());
                Box::pin(async move {
                    tx.insert_installation(&rows.installation).await?;
                    tx.insert_account(&rows.account).await?;
                    tx.insert_zone(&rows.zone).await?;
                    tx.insert_environment(&rows.environment).await?;
                    tx.insert_user(&rows.user).await?;
                    let (user, account) = (rows.user.id, rows.account.id);
                    tx.insert_membership(&Membership { user, account, created_at: now }).await?;
                    tx.insert_management_token(&rows.management_token).await?;
                    tx.insert_api_token(&rows.api_token).await?;
                    tx.record(event);
                    Ok::<_, Error>(())
                })
            })
            .await?;
        self.in_force(written.revision, false).await;
        Ok(Initialised { account, zone, environment, user, api_key, api_token, account_token })
    }
}

#[derive(Clone)]
struct Rows {
    installation: Installation,
    account: Account,
    zone: Zone,
    environment: Environment,
    user: User,
    management_token: ManagementToken,
    api_token: ApiToken,
}
