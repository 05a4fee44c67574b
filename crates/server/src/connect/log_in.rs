//! `/cli/connect`: an API token for a command line, for an address and a global key.

use axum::extract::State;
use countersign_store::{Account, Page as Part};
use countersign_token::api_token::ApiToken;
use countersign_token::id::{AccountId, AccountPfid};
use countersign_token::secret::Secret;
use http::StatusCode;

use super::form::Unfit;
use super::host::Host;
use super::html::Html;
use super::page::{self, Page};
use super::submitted::Submitted;
use super::{LOG_IN, Pages};
use crate::caller::{Administer, Caller, Origin, Permit, Place};
use crate::ops::{self, CreateApiToken, Intent, NewScope, Outcome};
use crate::throttle::Attempt;

/// What a form of this page is marked for.
const PURPOSE: &str = "log in";

/// What a field bears that has the focus.
const FOCUS: &str = " autofocus";

const TITLE: &str = "Connect a command line to Countersign";

/// How many accounts are offered by name. Whoever has more names one.
const OFFERED_MAX: u32 = 200;

/// The form as it is shown: empty, or with what was typed and what is wrong with it.
#[derive(Debug, Default)]
struct Form<'a> {
    email: &'a str,
    problem: Option<Problem>,
    choice: Choice,
}

/// Why a form did nothing.
#[derive(Clone, Copy, Debug)]
struct Problem {
    words: &'static str,
    about: About,
}

/// What has to be filled in otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Nothing,
    Credentials,
    Account,
}

/// How the form asks for the account.
#[derive(Debug, Default)]
enum Choice {
    /// Not at all: most users have one.
    #[default]
    None,
    /// By the names of the user's accounts.
    Offered(Vec<Account>),
    /// By its id.
    Typed,
}

pub(super) async fn show(State(pages): State<Pages>) -> Page {
    pages.log_in(StatusCode::OK, &Form::default())
}

pub(super) async fn submit(
    State(pages): State<Pages>,
    origin: Origin,
    host: Host,
    submitted: Submitted,
) -> Result<Page, Page> {
    let app = &pages.app;
    let now = app.clock.now();
    let email = submitted.field("email");
    let again = |status, words, about, choice| {
        let problem = Some(Problem { words, about });
        pages.log_in(status, &Form { email, problem, choice })
    };
    let unfit = |unfit: Unfit| again(unfit.status(), unfit.words(), About::Nothing, Choice::None);

    let once = pages.forms.check(PURPOSE, submitted.field("form"), now).map_err(unfit)?;
    if !app.is_fresh() {
        return Err(page::unavailable());
    }
    let attempt = Attempt::from(origin.address).on(email);
    pages.throttle.begin(&attempt, app.clock.boot()).map_err(page::throttled)?;
    let Some(detail) = app.index.authenticate_global_key(email, submitted.field("key"), now) else {
        let words = "This address and this key do not belong together.";
        return Err(again(StatusCode::UNAUTHORIZED, words, About::Credentials, Choice::None));
    };
    pages.throttle.succeed(&attempt);

    let caller = Caller::from(detail);
    let (account, permit) = match pages.choose(&caller, submitted.field("account")).await.map_err(page::failed)? {
        Chosen::Account(account, permit) => (account, permit),
        Chosen::Nothing { status, problem, choice } => return Err(again(status, problem.words, problem.about, choice)),
    };
    let fingerprint = pages.forms.fingerprint(&once, caller.user().as_ref());
    let intent = Intent { key: once, fingerprint, answer: |token: &ApiToken| token.id.to_string(), sealed_by: None };
    let create = CreateApiToken { scope: NewScope::Account, expires_at: None };
    match app.ops.create_api_token(&permit, create, Some(intent), &origin).await {
        Ok(issued) => match issued.reply.outcome {
            Outcome::Done(token) => {
                let url = host.url(app.public_url.as_deref());
                Ok(connected(&token, &issued.secret, &account, url.as_deref()))
            }
            // The operation would show the token again. To a page's sender it is not shown twice.
            Outcome::Replayed(_) => Err(unfit(Unfit::Used)),
        },
        Err(ops::Error::IdempotencyKeyUsed) => Err(unfit(Unfit::Used)),
        Err(error) => Err(page::failed(error)),
    }
}

/// The account that a token is made for, or why there is none yet.
enum Chosen {
    Account(Account, Permit<Administer>),
    Nothing { status: StatusCode, problem: Problem, choice: Choice },
}

impl Pages {
    fn log_in(&self, status: StatusCode, form: &Form<'_>) -> Page {
        let mark = self.forms.mark(PURPOSE, self.app.clock.now());
        Page::new(status, TITLE, form.html(&mark))
    }

    /// The account with the id `named`, or the user's only one.
    async fn choose(&self, caller: &Caller, named: &str) -> Result<Chosen, ops::Error> {
        let (accounts, total) =
            self.app.ops.list_accounts(caller, None, Part { offset: 0, limit: OFFERED_MAX }).await?;
        let nothing = |status, words, about, accounts: Vec<Account>| {
            let all = total <= u64::from(OFFERED_MAX);
            let choice = if all { Choice::Offered(accounts) } else { Choice::Typed };
            Ok(Chosen::Nothing { status, problem: Problem { words, about }, choice })
        };
        let account = match (named, accounts.as_slice()) {
            ("", []) => {
                let words = "Your user has no account, so there is nothing to make a token for.";
                let problem = Problem { words, about: About::Nothing };
                return Ok(Chosen::Nothing { status: StatusCode::FORBIDDEN, problem, choice: Choice::None });
            }
            ("", [only]) => Some(only.clone()),
            ("", [..]) => {
                let words = "You have several accounts. Choose one, and enter your key once more.";
                return nothing(StatusCode::UNPROCESSABLE_ENTITY, words, About::Nothing, accounts);
            }
            (named, _) => self.find_account(caller, named).await?,
        };
        let permitted = account.and_then(|account| {
            let permit = caller.permit(&self.app.index, Place::Account(account.id)).ok()?;
            Some(Chosen::Account(account, permit))
        });
        match permitted {
            Some(chosen) => Ok(chosen),
            None => {
                let words = "You have no such account. Choose another one, and enter your key once more.";
                nothing(StatusCode::FORBIDDEN, words, About::Account, accounts)
            }
        }
    }

    /// An account of the caller's by either of its ids; `None` if there is none, or it is another's.
    async fn find_account(&self, caller: &Caller, named: &str) -> Result<Option<Account>, ops::Error> {
        let by_pfid = || self.app.index.resolve_account_pfid(&named.parse::<AccountPfid>().ok()?);
        let Some(id) = named.parse::<AccountId>().ok().or_else(by_pfid) else { return Ok(None) };
        match self.app.ops.find_account(caller, &id).await {
            Ok(account) => Ok(Some(account)),
            Err(ops::Error::NotFound | ops::Error::Forbidden) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Form<'_> {
    fn html(&self, mark: &str) -> Html {
        // What is to be filled in first has the focus.
        let (email, account, key) = match (self.email, &self.choice) {
            ("", _) => (FOCUS, "", ""),
            (_, Choice::Offered(_) | Choice::Typed) => ("", FOCUS, ""),
            (_, Choice::None) => ("", "", FOCUS),
        };
        Html::new("<p>Enter your e-mail address and your global API key, and get an API token for one account.</p>")
            .then(page::problem(self.problem.map(|problem| problem.words)))
            .markup(r#"<form method="post" action=""#)
            .markup(LOG_IN)
            .markup(r#"" autocomplete="off"><input type="hidden" name="form" value=""#)
            .text(mark)
            .markup(
                r#""><label for="email">E-mail address</label><input id="email" name="email" type="email" required"#,
            )
            .markup(r#" maxlength="254" autocomplete="email" autocapitalize="none" spellcheck="false""#)
            .markup(email)
            .markup(self.described(About::Credentials))
            .markup(r#" value=""#)
            .text(self.email)
            .markup(r#"">"#)
            .then(self.choice.html(account, self.described(About::Account)))
            .markup(r#"<label for="key">Global API key</label>"#)
            .markup(r#"<input id="key" name="key" type="password" required autocomplete="off""#)
            .markup(key)
            .markup(self.described(About::Credentials))
            .markup(r#"><button type="submit">Make an API token</button></form>"#)
            .markup(r#"<p class="aside">The key was shown when your user was made. It is used for this one step.</p>"#)
    }

    /// What a field that belongs to `about` bears when something is wrong.
    fn described(&self, about: About) -> &'static str {
        match self.problem {
            None => "",
            Some(problem) if problem.about == about => r#" aria-invalid="true" aria-describedby="problem""#,
            Some(_) => r#" aria-describedby="problem""#,
        }
    }
}

impl Choice {
    fn html(&self, focus: &'static str, described: &'static str) -> Html {
        match self {
            Self::None => Html::default(),
            Self::Offered(accounts) => {
                let select = Html::new(r#"<label for="account">Account</label>"#)
                    .markup(r#"<select id="account" name="account" required"#)
                    .markup(focus)
                    .markup(described)
                    .markup(r#"><option value="">Choose an account</option>"#);
                let options = accounts.iter().fold(select, |html, account| {
                    let pfid = account.pfid.to_string();
                    html.markup(r#"<option value=""#)
                        .text(&pfid)
                        .markup(r#"">"#)
                        .text(&account.name)
                        .markup(" (")
                        .text(&pfid)
                        .markup(")</option>")
                });
                options.markup("</select>")
            }
            Self::Typed => Html::new(r#"<label for="account">Account, by its id</label>"#)
                .markup(r#"<input id="account" name="account" required maxlength="32" autocomplete="off""#)
                .markup(r#" autocapitalize="none" spellcheck="false""#)
                .markup(focus)
                .markup(described)
                .markup(">"),
        }
    }
}

/// The page that shows a new token, this once.
fn connected(token: &ApiToken, secret: &Secret, account: &Account, url: Option<&str>) -> Page {
    let expires_at = token.expires_at.to_string();
    let day = expires_at.split_once('T').map_or(expires_at.as_str(), |(day, _)| day);
    let html = Html::new("<p>Copy it now. It is shown this once, and only a digest of it is kept.</p>")
        .then(page::secret("API token", secret))
        .markup("<h2>What to do next</h2>")
        .markup("<p>Go back to the terminal that asks for it, and paste it there.</p>")
        .markup("<p>If none does, write a profile. Put the token in the place of <code>TOKEN</code>:</p>")
        .markup("<pre><code>prefactor profiles add NAME ")
        .text(url.unwrap_or("URL"))
        .markup(" <span>--api-token TOKEN</span></code></pre>")
        .markup("<h2>About this token</h2><dl><dt>Account</dt><dd>")
        .text(&account.name)
        .markup("<br><code>")
        .text(&account.pfid.to_string())
        .markup("</code></dd><dt>Token id</dt><dd><code>")
        .text(&token.id.to_string())
        .markup(r#"</code></dd><dt>Good until</dt><dd><time datetime=""#)
        .text(&expires_at)
        .markup(r#"">"#)
        .text(day)
        .markup("</time></dd></dl>")
        .markup(r#"<p class="aside">It may do everything in its account. If others get it, revoke it by its id.</p>"#);
    Page::new(StatusCode::OK, "Your API token", html)
}
