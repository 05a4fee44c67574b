//! `/invite/{token}`: accepting an invite to an account.

use axum::extract::State;
use countersign_store::{Account, Invite};
use http::{StatusCode, Uri};

use super::html::Html;
use super::page::{self, Page};
use super::submitted::Submitted;
use super::{INVITE, LOG_IN, Pages};
use crate::caller::Origin;
use crate::ops::{self, Accepted};
use crate::throttle::Attempt;

pub(super) async fn show(State(pages): State<Pages>, origin: Origin, uri: Uri) -> Result<Page, Page> {
    let token = token(&uri);
    let (invite, account) = pages.find(token, &origin).await?;
    Ok(pages.invited(StatusCode::OK, token, &invite, &account, None))
}

pub(super) async fn submit(
    State(pages): State<Pages>,
    origin: Origin,
    uri: Uri,
    submitted: Submitted,
) -> Result<Page, Page> {
    let token = token(&uri);
    if let Err(unfit) = pages.forms.check(&purpose(token), submitted.field("form"), pages.app.clock.now()) {
        let (invite, account) = pages.find(token, &origin).await?;
        return Err(pages.invited(unfit.status(), token, &invite, &account, Some(unfit.words())));
    }
    let accept = pages.app.ops.accept_invite(token, &origin);
    Ok(accepted(&pages.throttled(&origin, accept).await?))
}

/// The token in the path, as it stands there: none has characters that a path can't have.
fn token(uri: &Uri) -> &str {
    uri.path().strip_prefix(INVITE).unwrap_or_default()
}

/// What a form is marked for that accepts this invite.
fn purpose(token: &str) -> String {
    format!("invite {token}")
}

impl Pages {
    async fn find(&self, token: &str, origin: &Origin) -> Result<(Invite, Account), Page> {
        self.throttled(origin, self.app.ops.find_invite_by_token(token)).await
    }

    /// Does something with a token, as often as a client may who might be guessing.
    async fn throttled<T>(&self, origin: &Origin, job: impl Future<Output = Result<T, ops::Error>>) -> Result<T, Page> {
        let attempt = Attempt::from(origin.address);
        self.throttle.begin(&attempt, self.app.clock.boot()).map_err(page::throttled)?;
        let done = job.await;
        match done {
            Err(ops::Error::NotFound) => Err(no_invite()),
            Ok(done) => {
                self.throttle.succeed(&attempt);
                Ok(done)
            }
            Err(error) => {
                self.throttle.succeed(&attempt);
                Err(page::failed(error))
            }
        }
    }

    fn invited(
        &self,
        status: StatusCode,
        token: &str,
        invite: &Invite,
        account: &Account,
        problem: Option<&str>,
    ) -> Page {
        let mark = self.forms.mark(&purpose(token), self.app.clock.now());
        let html = Html::new("<p>You are invited to the account <strong>")
            .text(&account.name)
            .markup("</strong>, as <strong>")
            .text(&invite.email)
            .markup("</strong>. There you may do everything: make and revoke its tokens, and invite others.</p>")
            .then(page::problem(problem))
            .markup(r#"<form method="post"><input type="hidden" name="form" value=""#)
            .text(&mark)
            .markup(r#""><button type="submit" autofocus>Accept the invite</button></form>"#)
            .markup(r#"<p class="aside">If you did not expect this, close the page. Nothing happens then.</p>"#);
        Page::new(status, "An invite to Countersign", html)
    }
}

fn accepted(Accepted { account, user, api_key }: &Accepted) -> Page {
    let html = Html::new("<p><strong>")
        .text(&user.email)
        .markup("</strong> now has every right on the account <strong>")
        .text(&account.name)
        .markup("</strong>.</p>");
    let html = match api_key {
        Some(key) => html
            .markup("<p>This is your global API key. With your address, it is how you prove who you are. ")
            .markup("Copy it now, and keep it where you keep passwords: it is shown this once.</p>")
            .then(page::secret("Global API key", key)),
        None => {
            html.markup("<p>You had a user already, and go on using its global API key. It is not shown again.</p>")
        }
    };
    let html = html
        .markup(r#"<h2>What to do next</h2><p><a href=""#)
        .markup(LOG_IN)
        .markup(r#"">Connect a command line</a> with your address and your key.</p>"#);
    Page::new(StatusCode::OK, "You have joined", html)
}

fn no_invite() -> Page {
    let html = Html::new("<p>It was used or revoked, or its address is not complete. ")
        .markup("Ask whoever has invited you for another one.</p>");
    Page::new(StatusCode::NOT_FOUND, "There is no such invite", html)
}
