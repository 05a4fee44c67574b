//! The pages for people: getting a token for a command line, and accepting an invite.

use std::time::Duration;

use countersign_server::caller::Caller;
use http::Method;
use serde_json::json;

use crate::world::prefactor::join_all;
use crate::world::{Browser, DAY, OWNER_EMAIL, Page, World, on_both, on_sqlite};

const LOG_IN: &str = "/cli/connect";
const MEMBER: &str = "member@example.com";
const FOREIGN_MEMBER: &str = "foreign@example.com";
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Opens the page, fills in the form and sends it.
async fn log_in(browser: &Browser<'_>, email: &str, key: &str, account: Option<&str>) -> Page {
    let page = browser.open(LOG_IN).await;
    assert_eq!(page.status, 200);
    let mut fields = vec![("form", page.mark()), ("email", email), ("key", key)];
    fields.extend(account.map(|account| ("account", account)));
    browser.send(LOG_IN, &fields).await
}

/// How many fields are said to be wrong.
fn count_wrong(page: &Page) -> usize {
    page.html.matches(" aria-invalid=\"true\"").count()
}

/// Asserts that a form was not taken, why, and that there is another one.
#[track_caller]
fn assert_again(page: &Page, status: u16, problem: &str) {
    assert_eq!((page.status.as_u16(), page.secret.is_some()), (status, false), "{}", page.html);
    let found = page.problem().unwrap_or_default();
    assert!(found.contains(problem), "{found:?} is not about {problem:?}");
    assert!(page.html.contains("aria-describedby=\"problem\""), "the fields name what is wrong");
    assert!(!page.mark().is_empty());
}

async fn count_tokens(world: &World) -> u64 {
    world.prefactor().count("/api_token").await
}

/// An invite to account A: the path of its page, and its id.
async fn invite(world: &World, email: &str) -> (String, String) {
    let details = world.prefactor().post("/admin_user_invite", &json!({"details": {"email": email}})).await.details();
    let url = details["invite_url"].as_str().unwrap();
    assert!(url.ends_with(&format!("/invite/{}", details["token"].as_str().unwrap())), "{url}");
    (url[url.find("/invite/").unwrap()..].to_owned(), details["id"].as_str().unwrap().to_owned())
}

#[test]
fn a_token_is_made_and_good_at_once() {
    on_both(async |world| {
        let events = world.audit_end().await;
        world.advance(Duration::from_secs(1));
        let page = log_in(&world.browser(), " Member@Example.com ", world.member_global_key(), None).await;
        assert_eq!((page.status.as_u16(), page.title()), (200, "Your API token"), "{}", page.html);
        let token = page.secret.as_deref().expect("a token is shown");
        world.nobody().with_token(token).get("/ping").await.ok();

        let user = world.ops().find_user_by_email(&Caller::Operator, MEMBER).await.unwrap();
        let newest = world.prefactor().get("/api_token?sorting=-id").await.summaries().remove(0);
        assert_eq!(newest["created_by_admin_user_id"], json!(user.pfid.to_string()));
        assert_eq!((&newest["token_scope"], &newest["status"]), (&json!("account"), &json!("active")));
        assert_eq!(newest["expires_at"], json!(world.after(365 * DAY)));
        let id = newest["id"].as_str().unwrap();
        for part in
            [id, world.account_pfid.as_str(), "2027-03-01", "prefactor profiles add NAME http://countersign.test"]
        {
            assert!(page.html.contains(part), "{part} in {}", page.html);
        }
        let events = world.audit(events).await;
        assert_eq!(events.len(), 1);
        let made = (events[0].action.as_str(), events[0].actor_kind.as_str(), events[0].subject_id.as_str());
        assert_eq!(made, ("api_token.create", "user", id));
        assert_eq!(events[0].actor_id, user.id.to_string());
    });
}

#[test]
fn a_form_shows_one_token() {
    on_both(async |world| {
        let before = count_tokens(world).await;
        let body = {
            let page = world.browser().open(LOG_IN).await;
            format!("form={}&email={MEMBER}&key={}", page.mark(), world.member_global_key())
        };
        let send = async |world: &World| world.browser().call(Method::POST, LOG_IN, body.clone()).await;
        let pages = join_all((0..4).map(|_| send(world))).await;
        let (shown, refused): (Vec<_>, Vec<_>) = pages.into_iter().partition(|page| page.secret.is_some());
        assert_eq!(shown.len(), 1);
        for page in &refused {
            assert_again(page, 410, "was used already");
        }
        assert_again(&send(world).await, 410, "was used already");
        // Another node, or this one at another time, knows it too.
        world.restart().await;
        assert_again(&send(world).await, 410, "was used already");
        assert_eq!(count_tokens(world).await, before + 1);
        // Nor does it work for somebody else.
        let page = world.browser().open(LOG_IN).await;
        let mark = page.mark();
        let sent = |email, key| [("form", mark), ("email", email), ("key", key), ("account", &world.account_pfid)];
        let first = world.browser().send(LOG_IN, &sent(MEMBER, world.member_global_key())).await;
        assert!(first.secret.is_some());
        let second = world.browser().send(LOG_IN, &sent(OWNER_EMAIL, world.owner_global_key())).await;
        assert_again(&second, 410, "was used already");
        assert_eq!(count_tokens(world).await, before + 2);
    });
}

#[test]
fn a_wrong_address_and_a_wrong_key_look_the_same() {
    on_both(async |world| {
        let before = count_tokens(world).await;
        let blank = |page: Page, email: &str| {
            let mark = page.mark().to_owned();
            page.html.replace(&mark, "").replace(email, "")
        };
        let member_key = world.member_global_key();
        let wrong_key = log_in(&world.browser(), MEMBER, world.owner_global_key(), None).await;
        assert_again(&wrong_key, 401, "do not belong together");
        assert!(wrong_key.html.contains(&format!("value=\"{MEMBER}\"")), "the address is kept");
        assert_eq!(count_wrong(&wrong_key), 2, "either may be");
        let nobody = log_in(&world.browser(), "nobody@example.com", member_key, None).await;
        assert_eq!(nobody.status, 401);
        assert_eq!(blank(wrong_key, MEMBER), blank(nobody, "nobody@example.com"));
        for (email, key) in
            [(MEMBER, ""), ("", member_key), (&"x".repeat(100_000) as &str, &"y".repeat(100_000) as &str)]
        {
            let browser = world.browser().at("192.0.2.1");
            assert_again(&log_in(&browser, email, key, None).await, 401, "do not belong together");
        }
        assert_eq!(count_tokens(world).await, before);
    });
}

#[test]
fn whoever_fails_five_times_waits() {
    on_both(async |world| {
        let key = world.member_global_key();
        let here = world.browser().at("192.0.2.1");
        for number in 0..5 {
            assert_eq!(log_in(&here, &format!("{number}@example.com"), key, None).await.status, 401);
        }
        world.advance(Duration::from_secs(60));
        let throttled = log_in(&here, MEMBER, key, None).await;
        assert_eq!((throttled.status.as_u16(), throttled.title()), (429, "Too many attempts"));
        assert_eq!(throttled.headers["retry-after"], "840");
        assert!(throttled.html.contains("in 14 minutes"), "{}", throttled.html);
        // Not everybody waits with them.
        assert!(log_in(&world.browser().at("192.0.2.2"), MEMBER, key, None).await.secret.is_some());
        assert!(log_in(&world.browser(), MEMBER, key, None).await.secret.is_some());
        world.advance(WINDOW - Duration::from_secs(60));
        assert!(log_in(&here, MEMBER, key, None).await.secret.is_some());
    });
}

#[test]
fn whom_somebody_guesses_at_waits_everywhere() {
    on_both(async |world| {
        let key = world.member_global_key();
        for number in 0..5 {
            let browser = world.browser().at(&format!("2001:db8:0:{number}::1"));
            assert_eq!(log_in(&browser, MEMBER, "guess", None).await.status, 401);
        }
        let elsewhere = world.browser().at("2001:db8:1::1");
        assert_eq!(log_in(&elsewhere, "MEMBER@example.com", key, None).await.status, 429);
        assert!(log_in(&elsewhere, FOREIGN_MEMBER, world.foreign_member_global_key(), None).await.secret.is_some());
        world.advance(WINDOW);
        assert!(log_in(&elsewhere, MEMBER, key, None).await.secret.is_some());
    });
}

#[test]
fn a_success_begins_the_count_anew() {
    on_both(async |world| {
        let here = world.browser().at("192.0.2.1");
        for _ in 0..3 {
            for number in 0..4 {
                assert_eq!(log_in(&here, &format!("{number}@example.com"), "guess", None).await.status, 401);
            }
            let page = log_in(&here, MEMBER, world.member_global_key(), None).await;
            assert!(page.secret.is_some(), "{}", page.html);
        }
    });
}

#[test]
fn whoever_has_several_accounts_chooses_one() {
    on_both(async |world| {
        let (email, key) = (OWNER_EMAIL, world.owner_global_key());
        let name = json!({"details": {"name": "<b>\"R&D\"</b>"}});
        world.prefactor().put(&format!("/account/{}", world.account_pfid), &name).await.ok();
        let page = log_in(&world.browser(), email, key, None).await;
        assert_again(&page, 422, "Choose one");
        assert_eq!(count_wrong(&page), 0);
        for part in
            [&world.account_pfid, &world.foreign_account_pfid, "&lt;b&gt;&quot;R&amp;D&quot;&lt;/b&gt;", "Other"]
        {
            assert!(page.html.contains(part), "{part} in {}", page.html);
        }
        assert!(!page.html.contains("<b>"));
        for account in [world.account_pfid.clone(), world.account.to_string()] {
            let page = log_in(&world.browser(), email, key, Some(&account)).await;
            let token = page.secret.expect("a token is shown");
            let details = world.nobody().with_token(&token).get("/account").await.summaries();
            assert_eq!(details[0]["id"], json!(world.account_pfid));
        }
        let page = log_in(&world.browser(), email, key, Some(&world.foreign_account_pfid)).await;
        let token = page.secret.expect("a token is shown");
        let details = world.nobody().with_token(&token).get("/account").await.summaries();
        assert_eq!(details[0]["id"], json!(world.foreign_account_pfid));
    });
}

/// More accounts than anybody would look through are not offered by name.
#[test]
fn whoever_has_very_many_accounts_names_one() {
    on_sqlite(async |world| {
        for number in 0..199 {
            world.ops().create_account(&Caller::Operator, &format!("Account {number}")).await.unwrap();
        }
        let (email, key) = (OWNER_EMAIL, world.owner_global_key());
        let page = log_in(&world.browser(), email, key, None).await;
        assert_again(&page, 422, "Choose one");
        assert!(page.html.contains("<input id=\"account\"") && !page.html.contains("<option"), "{}", page.html);
        let page = log_in(&world.browser(), email, key, Some("\"><script>")).await;
        assert_again(&page, 403, "no such account");
        assert!(!page.html.contains("\"><script>"));
        assert!(log_in(&world.browser(), email, key, Some(&world.foreign_account_pfid)).await.secret.is_some());
    });
}

#[test]
fn another_s_account_is_as_good_as_none() {
    on_both(async |world| {
        let before = (count_tokens(world).await, world.foreign_prefactor().count("/api_token").await);
        let foreign = [
            world.foreign_account_pfid.clone(),
            world.foreign_account.to_string(),
            world.environment.clone(),
            "0".repeat(32),
            "\"><script>alert(1)</script>".to_owned(),
        ];
        for account in &foreign {
            let page = log_in(&world.browser(), MEMBER, world.member_global_key(), Some(account)).await;
            assert_again(&page, 403, "no such account");
            assert_eq!(count_wrong(&page), 1);
            assert!(page.html.contains(&world.account_pfid), "their own is offered");
            assert!(!page.html.contains(account.as_str()) && !page.html.contains("Other"), "{}", page.html);
        }
        assert_eq!((count_tokens(world).await, world.foreign_prefactor().count("/api_token").await), before);
        // Their own they may name.
        let own = Some(world.account_pfid.as_str());
        assert!(log_in(&world.browser(), MEMBER, world.member_global_key(), own).await.secret.is_some());
    });
}

#[test]
fn only_our_own_forms_are_taken_and_not_for_long() {
    on_both(async |world| {
        let before = count_tokens(world).await;
        let key = world.member_global_key();
        let page = world.browser().open(LOG_IN).await;
        let send =
            async |mark: &str| world.browser().send(LOG_IN, &[("form", mark), ("email", MEMBER), ("key", key)]).await;
        let (marked, code) = page.mark().rsplit_once('.').unwrap();
        let (secs, nonce) = marked.split_once('.').unwrap();
        let later = secs.parse::<u64>().unwrap() + 1;
        let forged = [
            String::new(),
            "form".to_owned(),
            marked.to_owned(),
            format!("{later}.{nonce}.{code}"),
            format!("{marked}.{}", "0".repeat(64)),
            format!("{}0", page.mark()),
        ];
        for mark in &forged {
            let page = send(mark).await;
            assert_again(&page, 403, "did not come from here");
            assert!(page.html.contains(&format!("value=\"{MEMBER}\"")), "the address is kept");
        }
        let nothing = world.browser().send(LOG_IN, &[("email", MEMBER), ("key", key)]).await;
        assert_again(&nothing, 403, "did not come from here");
        // The form of another page is no form of this one.
        let (path, _) = invite(world, "new@example.com").await;
        let other = world.browser().open(&path).await;
        assert_again(&send(other.mark()).await, 403, "did not come from here");

        world.advance(WINDOW);
        let late = send(page.mark()).await;
        assert_again(&late, 410, "open for too long");
        assert_eq!(count_tokens(world).await, before);
        // None of these were attempts on the key.
        assert!(send(late.mark()).await.secret.is_some(), "the form that was shown then is good");
    });
}

#[test]
fn another_site_sends_nothing() {
    on_both(async |world| {
        let before = count_tokens(world).await;
        let (path, _) = invite(world, "new@example.com").await;
        let page = world.browser().open(LOG_IN).await;
        let fields = [("form", page.mark()), ("email", MEMBER), ("key", world.member_global_key())];
        let invited = world.browser().open(&path).await;
        let elsewhere = [
            world.browser().with("sec-fetch-site", "cross-site"),
            world.browser().with("sec-fetch-site", "same-site").with("origin", "null"),
            world.browser().with("origin", "https://evil.example"),
        ];
        for browser in &elsewhere {
            let refused = browser.send(LOG_IN, &fields).await;
            assert_eq!((refused.status.as_u16(), refused.title()), (403, "Not from here"));
            assert_eq!(browser.send(&path, &[("form", invited.mark())]).await.status, 403);
        }
        assert_eq!(count_tokens(world).await, before);
        // What browsers send from our own page.
        let own = world.browser().with("sec-fetch-site", "same-origin").with("origin", "null");
        assert!(own.send(LOG_IN, &fields).await.secret.is_some());
        let own = world.browser().with("origin", "http://countersign.test");
        assert!(own.send(&path, &[("form", invited.mark())]).await.secret.is_some());
    });
}

#[test]
fn what_is_typed_stays_text() {
    on_sqlite(async |world| {
        let texts = [
            ("\"><script>alert(1)</script>", "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("' onfocus='alert(1)' x='", "&#39; onfocus=&#39;alert(1)&#39; x=&#39;"),
            ("</style><img src=x>", "&lt;/style&gt;&lt;img src=x&gt;"),
            ("&lt;&#60;", "&amp;lt;&amp;#60;"),
        ];
        for (number, (typed, shown)) in texts.into_iter().enumerate() {
            let browser = world.browser().at(&format!("192.0.2.{number}"));
            let page = log_in(&browser, typed, "key", Some(typed)).await;
            assert_eq!(page.status, 401);
            assert!(page.html.contains(&format!("value=\"{shown}\"")), "{}", page.html);
            assert!(!page.html.contains(typed), "{}", page.html);
        }
    });
}

#[test]
fn whatever_is_sent_gets_a_page() {
    on_sqlite(async |world| {
        let browser = world.browser();
        for path in [LOG_IN, "/invite/x"] {
            for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
                let page = browser.call(method, path, "").await;
                assert_eq!(page.status, 405);
                assert_eq!(page.headers["allow"], "GET,HEAD,POST");
            }
        }
        let head = browser.call(Method::HEAD, LOG_IN, "").await;
        assert_eq!((head.status.as_u16(), head.html.as_str()), (200, ""));
        assert_eq!(browser.call(Method::POST, LOG_IN, "form=%zz").await.status, 400);
        assert_eq!(browser.call(Method::POST, LOG_IN, vec![0xff]).await.status, 400);
        assert_eq!(browser.call(Method::POST, LOG_IN, "x".repeat((1 << 20) + 1)).await.status, 413);
        assert_again(&browser.call(Method::POST, LOG_IN, "").await, 403, "did not come from here");
        for path in ["/invite/", "/invite/x/y", "/cli", "/cli/connect/"] {
            assert_eq!(world.plain(path).await.0, 404, "{path}");
        }
    });
}

#[test]
fn a_server_that_has_lost_its_store_says_so() {
    on_both(async |world| {
        let (path, _) = invite(world, "new@example.com").await;
        world.restart_promising(Duration::from_secs(5)).await;
        world.lose_writer().await;
        let invited = world.browser().open(&path).await;
        assert_eq!(world.browser().send(&path, &[("form", invited.mark())]).await.status, 503);
        let page = log_in(&world.browser(), MEMBER, world.member_global_key(), None).await;
        assert_eq!((page.status.as_u16(), page.title()), (503, "Temporarily unavailable"));
        world.lose_follower().await;
        world.advance(Duration::from_secs(6));
        // Nobody is told whether their key is right, and nobody's attempt counts.
        for _ in 0..6 {
            for key in ["wrong", world.member_global_key()] {
                assert_eq!(log_in(&world.browser(), MEMBER, key, None).await.status, 503);
            }
        }
        world.abandon().await;
        world.start().await;
        assert!(log_in(&world.browser(), MEMBER, world.member_global_key(), None).await.secret.is_some());
        let invited = world.browser().open(&path).await;
        assert!(world.browser().send(&path, &[("form", invited.mark())]).await.secret.is_some());
    });
}

#[test]
fn an_invite_makes_a_user_once() {
    on_both(async |world| {
        let (path, id) = invite(world, "New@Example.com").await;
        let page = world.browser().open(&path).await;
        assert_eq!((page.status.as_u16(), page.title()), (200, "An invite to Countersign"));
        let name = world.prefactor().get("/account").await.summaries()[0]["name"].as_str().unwrap().to_owned();
        for part in [name.as_str(), "new@example.com"] {
            assert!(page.html.contains(part), "{part} in {}", page.html);
        }
        // Looking changes nothing.
        let status =
            async || world.prefactor().get(&format!("/admin_user_invite/{id}")).await.details()["status"].clone();
        assert_eq!(status().await, "pending");

        let send = async || world.browser().send(&path, &[("form", page.mark())]).await;
        let pages = join_all((0..2).map(|_| send())).await;
        let (shown, refused): (Vec<_>, Vec<_>) = pages.into_iter().partition(|page| page.secret.is_some());
        assert_eq!((shown.len(), refused[0].status.as_u16()), (1, 404), "one of the two wins");
        assert_eq!(status().await, "used");
        assert_eq!((shown[0].status.as_u16(), shown[0].title()), (200, "You have joined"));
        let key = shown[0].secret.as_deref().unwrap();
        let user = world.anonymous().with("x-auth-email", "new@example.com").with("x-auth-key", key);
        assert_eq!(user.get("/user").await.ok()["email"], "new@example.com");
        assert_eq!(user.get(&world.tokens()).await.status, 200);
        user.get(&world.foreign_tokens()).await.refused(403, 10000);
        assert!(log_in(&world.browser(), "new@example.com", key, None).await.secret.is_some());

        for page in [world.browser().open(&path).await, send().await] {
            assert_eq!((page.status.as_u16(), page.title()), (404, "There is no such invite"));
        }
    });
}

#[test]
fn an_invite_gives_a_user_one_more_account() {
    on_both(async |world| {
        let (path, _) = invite(world, FOREIGN_MEMBER).await;
        let page = world.browser().open(&path).await;
        let page = world.browser().send(&path, &[("form", page.mark())]).await;
        assert_eq!((page.status.as_u16(), page.title()), (200, "You have joined"), "{}", page.html);
        assert!(page.secret.is_none());
        assert!(page.html.contains("You had a user already"));
        let key = world.foreign_member_global_key();
        assert_again(&log_in(&world.browser(), FOREIGN_MEMBER, key, None).await, 422, "Choose one");
        let page = log_in(&world.browser(), FOREIGN_MEMBER, key, Some(&world.account_pfid)).await;
        world.nobody().with_token(&page.secret.unwrap()).get("/account").await.ok();
    });
}

#[test]
fn an_invite_that_is_not_good_leads_nowhere() {
    on_both(async |world| {
        let (revoked, id) = invite(world, "new@example.com").await;
        let (good, _) = invite(world, "other@example.com").await;
        let page = world.browser().open(&revoked).await;
        world.prefactor().act(&format!("/admin_user_invite/{id}/revoke")).await.details();
        // Each attempt comes from elsewhere, for they are counted.
        let mut number = 0;
        let mut browser = || {
            number += 1;
            world.browser().at(&format!("192.0.2.{number}"))
        };
        let gone = |page: Page| assert_eq!((page.status.as_u16(), page.title()), (404, "There is no such invite"));
        gone(browser().send(&revoked, &[("form", page.mark())]).await);
        gone(browser().open(&revoked).await);
        let last = good.chars().last().unwrap();
        let changed = format!("{}{}", &good[..good.len() - 1], if last == '0' { '1' } else { '0' });
        for path in
            [changed, format!("/invite/{id}"), "/invite/x".to_owned(), format!("{good}0"), "/invite/%00%ff".to_owned()]
        {
            gone(browser().open(&path).await);
            gone(browser().send(&path, &[("form", page.mark())]).await);
        }
        // The form of one invite does not accept another one.
        let refused = browser().send(&good, &[("form", page.mark())]).await;
        assert_eq!((refused.status.as_u16(), refused.problem().is_some()), (403, true));
        let log_in = world.browser().open(LOG_IN).await;
        assert_eq!(browser().send(&good, &[("form", log_in.mark())]).await.status, 403);
        assert_eq!(browser().send(&good, &[]).await.status, 403);
        let page = browser().open(&good).await;
        world.advance(WINDOW);
        let late = browser().send(&good, &[("form", page.mark())]).await;
        assert_eq!(late.status, 410);
        assert!(browser().send(&good, &[("form", late.mark())]).await.secret.is_some());
    });
}

#[test]
fn whoever_guesses_at_invites_waits() {
    on_both(async |world| {
        let (good, _) = invite(world, "new@example.com").await;
        let here = world.browser().at("192.0.2.1");
        for number in 0..5 {
            assert_eq!(here.open(&format!("/invite/{number}")).await.status, 404);
        }
        let page = here.open(&good).await;
        assert_eq!((page.status.as_u16(), page.title()), (429, "Too many attempts"));
        let elsewhere = world.browser().open(&good).await;
        assert_eq!(here.send(&good, &[("form", elsewhere.mark())]).await.status, 429);
        world.advance(WINDOW);
        let page = here.open(&good).await;
        assert!(here.send(&good, &[("form", page.mark())]).await.secret.is_some());
    });
}
