use super::{Name, NameError, NewServiceToken, Owner, Patch, ServiceToken, Update, fold};
use crate::digest::Digest;
use crate::duration::TokenDuration;
use crate::id::{AccountId, ClientId, ServiceTokenId};
use crate::time::Timestamp;

const YEAR: i64 = 31_536_000;
const BORN: i64 = 1_767_225_600;

/// So many seconds into the token's life, and a bit, as real times are.
fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros((BORN + secs) * 1_000_000 + 250_000)
}

fn whole(secs: i64) -> Timestamp {
    Timestamp::from_secs(BORN + secs)
}

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn duration(text: &str) -> TokenDuration {
    TokenDuration::parse(text).unwrap()
}

fn new(text: &str) -> NewServiceToken {
    NewServiceToken {
        id: ServiceTokenId::from_bytes([1; 16]),
        owner: Owner { account: AccountId::from_bytes([2; 16]), zone: None },
        client_id: ClientId::from_bytes([3; 16]),
        name: Name::parse("deploy").unwrap(),
        duration: duration(text),
        enabled: true,
        secret_version: 1,
        digest: digest(1),
        previous_expires_at: None,
    }
}

fn token() -> ServiceToken {
    ServiceToken::create(new("8760h"), at(0))
}

/// What the contract shows, but for ids and dates of birth.
type Shown<'t> = (&'t str, &'t str, bool, u32, Option<Timestamp>, Timestamp, Timestamp);

fn shown(token: &ServiceToken) -> Shown<'_> {
    (
        token.name.as_str(),
        token.duration.as_str(),
        token.enabled,
        token.secret_version,
        token.previous_expires_at,
        token.expires_at,
        token.updated_at,
    )
}

/// The digests that the token holds, by their numbers.
fn secrets(token: &ServiceToken) -> (u8, Option<u8>) {
    let number = |digest: &Digest| digest.as_bytes()[0];
    (number(&token.digest), token.previous_digest.as_ref().map(number))
}

#[test]
fn names_have_bounds() {
    let check = |text: &str, expected: Result<(), NameError>| {
        assert_eq!(Name::parse(text).map(|name| assert_eq!(name.as_str(), text)), expected);
    };
    check("x", Ok(()));
    check(" ", Ok(()));
    check(&"\u{1f511}".repeat(350), Ok(()));
    check("", Err(NameError::Empty));
    check(&"x".repeat(351), Err(NameError::TooLong));
    check("a\0b", Err(NameError::Null));
    assert_eq!(Name::parse("ÄRGER İ").unwrap().folded(), "ärger i\u{307}");
}

#[test]
fn create_starts_the_clock() {
    let created = token();
    assert_eq!(shown(&created), ("deploy", "8760h", true, 1, None, at(YEAR), at(0)));
    assert_eq!((created.created_at, created.last_seen_at), (at(0), None));
    assert_eq!(secrets(&created), (1, None));
    assert_eq!(created.ends_at(), Some(at(YEAR)));
}

#[test]
fn create_takes_versions_grace_and_forever() {
    // Cases 5 to 8: no version is 1, a given one counts; a grace period without a secret before is only shown.
    let created = ServiceToken::create(NewServiceToken { secret_version: 0, ..new("1h") }, at(0));
    assert_eq!(created.secret_version, 1);
    let grace = Timestamp::parse_rfc3339("2025-12-31T23:59:59.75Z").unwrap();
    let new = NewServiceToken { secret_version: 2, previous_expires_at: Some(grace), ..new("forever") };
    let created = ServiceToken::create(new, at(0));
    assert_eq!((created.secret_version, created.previous_expires_at), (2, Some(grace.floor_to_second())));
    assert!(created.previous().is_none());
    assert_eq!(created.expires_at, at(100 * YEAR));
    assert_eq!(created.ends_at(), None);
}

#[test]
fn an_update_merges() {
    let before = token();
    let check = |update: Update, expected: Shown<'_>| {
        let after = before.updated(&update, None, at(60));
        assert_eq!(shown(&after), expected, "{update:?}");
        assert_eq!(secrets(&after), (1, None));
        assert_eq!((after.created_at, after.client_id), (before.created_at, before.client_id));
    };
    let name = || Name::parse("y").ok();
    // Cases 24 to 27, and 31.
    check(Update::default(), shown(&before));
    check(Update { name: name(), ..Update::default() }, ("y", "8760h", true, 1, None, at(YEAR), at(60)));
    check(
        Update { duration: Some(duration("17520h")), ..Update::default() },
        ("deploy", "17520h", true, 1, None, at(60 + 2 * YEAR), at(60)),
    );
    check(
        Update { duration: Some(duration("8760h")), name: name(), ..Update::default() },
        ("y", "8760h", true, 1, None, at(YEAR), at(60)),
    );
    check(
        Update { duration: Some(duration("forever")), ..Update::default() },
        ("deploy", "forever", true, 1, None, at(60 + 100 * YEAR), at(60)),
    );
    check(Update { enabled: Some(false), ..Update::default() }, ("deploy", "8760h", false, 1, None, at(YEAR), at(60)));
    for version in [0, 1] {
        check(Update { secret_version: Some(version), ..Update::default() }, shown(&before));
    }
    // The same values change nothing.
    let same = Update {
        name: Name::parse("deploy").ok(),
        duration: Some(duration("8760h")),
        enabled: Some(true),
        secret_version: Some(1),
        previous_expires_at: Patch::Clear,
    };
    check(same, shown(&before));
}

#[test]
fn a_greater_version_rotates() {
    let before = token();
    let check = |grace: Patch<Timestamp>, expected: (Option<Timestamp>, Option<u8>)| {
        let update = Update { secret_version: Some(5), previous_expires_at: grace, ..Update::default() };
        assert!(before.update_rotates(&update));
        let after = before.updated(&update, Some(&digest(2)), at(60));
        assert_eq!(shown(&after), ("deploy", "8760h", true, 5, expected.0, at(YEAR), at(60)));
        assert_eq!(secrets(&after), (2, expected.1));
        // Case 30: the same again rotates nothing and changes nothing.
        assert!(!after.update_rotates(&update));
        if grace != Patch::Clear {
            let again = after.updated(&update, Some(&digest(3)), at(90));
            let grace_moved = grace == Patch::Keep;
            assert_eq!(shown(&again), shown(&after), "{grace_moved}");
            assert_eq!(secrets(&again), (2, expected.1));
        }
    };
    check(Patch::Keep, (Some(whole(60)), Some(1)));
    check(Patch::Set(whole(3_660)), (Some(whole(3_660)), Some(1)));
    check(Patch::Clear, (None, None));
    // Without a new secret there is nothing to rotate to.
    let update = Update { secret_version: Some(2), ..Update::default() };
    assert_eq!(shown(&before.updated(&update, None, at(60))), shown(&before));
}

#[test]
fn a_running_grace_period_can_be_moved_and_a_lapsed_one_cannot() {
    let rotated = token().rotated(Some(whole(3_600)), digest(2), at(0));
    let check = |now: i64, patch: Patch<Timestamp>, expected: (Option<Timestamp>, Option<u8>)| {
        let update = Update { previous_expires_at: patch, ..Update::default() };
        let after = rotated.updated(&update, None, at(now));
        assert_eq!((after.previous_expires_at, secrets(&after).1), expected, "{patch:?} at {now}");
        assert_eq!(after.updated_at == rotated.updated_at, expected.0 == Some(whole(3_600)));
        assert_eq!(secrets(&after).0, 2);
    };
    // Cases 32 and 33.
    check(60, Patch::Set(whole(-60)), (Some(whole(-60)), None));
    check(60, Patch::Clear, (None, None));
    check(60, Patch::Set(whole(7_200)), (Some(whole(7_200)), Some(1)));
    check(60, Patch::Set(whole(3_600)), (Some(whole(3_600)), Some(1)));
    check(60, Patch::Keep, (Some(whole(3_600)), Some(1)));
    // Lapsed: the date is taken, the secret stays dead.
    check(3_600, Patch::Set(whole(7_200)), (Some(whole(7_200)), None));
}

#[test]
fn rotation_keeps_one_secret_before() {
    let once = token().rotated(Some(whole(86_400)), digest(2), at(60));
    assert_eq!(shown(&once), ("deploy", "8760h", true, 2, Some(whole(86_400)), at(YEAR), at(60)));
    assert_eq!(secrets(&once), (2, Some(1)));
    // Case 38: the oldest is dropped at once.
    let twice = once.rotated(Some(whole(86_400)), digest(3), at(120));
    assert_eq!(secrets(&twice), (3, Some(2)));
    // Case 37: without a date, the secret before ends now.
    let thrice = twice.rotated(None, digest(4), at(180));
    assert_eq!((thrice.secret_version, thrice.previous_expires_at), (4, Some(whole(180))));
    assert!(thrice.previous().is_some_and(|(_, until)| until <= at(180)));
    let last = ServiceToken { secret_version: u32::MAX, ..token() }.rotated(None, digest(2), at(1));
    assert_eq!(last.secret_version, u32::MAX);
}

#[test]
fn a_refresh_never_shortens() {
    let check = |text: &str, now: i64, expected: (Timestamp, Timestamp)| {
        let before = ServiceToken::create(new(text), at(0));
        let after = before.refreshed(at(now));
        assert_eq!((after.expires_at, after.updated_at), expected, "{text} at {now}");
        assert_eq!((after.duration, after.secret_version), (before.duration, before.secret_version));
    };
    // Cases 39 and 40.
    check("24h", 60, (at(60 + YEAR), at(60)));
    check("17520h", 60, (at(2 * YEAR), at(0)));
    check("forever", 60, (at(100 * YEAR), at(0)));
    check("1h", 2 * 3_600, (at(2 * 3_600 + YEAR), at(2 * 3_600)));
}

#[test]
fn a_secret_before_that_ended_with_its_token_does_not_come_back_with_it() {
    let rotated = ServiceToken::create(new("1h"), at(0)).rotated(Some(whole(86_400)), digest(2), at(60));
    let longer = Update { duration: Some(duration("2h")), ..Update::default() };
    assert_eq!(secrets(&rotated.refreshed(at(3_000))), (2, Some(1)));
    assert_eq!(secrets(&rotated.updated(&longer, None, at(3_000))), (2, Some(1)));
    assert_eq!(secrets(&rotated.refreshed(at(3_600))), (2, None));
    assert_eq!(secrets(&rotated.updated(&longer, None, at(3_600))), (2, None));
}

#[test]
fn disabling_keeps_everything_else() {
    // Case 35.
    let rotated = token().rotated(Some(whole(3_600)), digest(2), at(0));
    let set = |enabled| Update { enabled: Some(enabled), ..Update::default() };
    let disabled = rotated.updated(&set(false), None, at(60));
    assert!(!disabled.enabled);
    assert_eq!(secrets(&disabled.updated(&set(true), None, at(90))), (2, Some(1)));
    assert_eq!(secrets(&disabled.rotated(None, digest(3), at(70))), (3, Some(2)));
    assert!(disabled.refreshed(at(70)).expires_at > disabled.expires_at);
}

#[test]
fn narrowing_is_what_ends_an_admitted_secret_earlier() {
    let plain = token();
    let grace = plain.rotated(Some(whole(3_600)), digest(2), at(0));
    let off = Update { enabled: Some(false), ..Update::default() };
    let disabled = plain.updated(&off, None, at(1));
    let update = |before: &ServiceToken, update: Update, now: i64| {
        let after = before.updated(&update, None, at(now));
        before.narrows(&after, at(now))
    };
    let until = |at: Timestamp| Update { previous_expires_at: Patch::Set(at), ..Update::default() };
    let lasting = |text: &str| Update { duration: Some(duration(text)), ..Update::default() };

    assert!(!update(&plain, Update::default(), 60));
    assert!(!update(&plain, Update { name: Name::parse("y").ok(), ..Update::default() }, 60));
    assert!(update(&plain, off.clone(), 60));
    assert!(!update(&disabled, off, 60), "it was off already");
    assert!(!update(&disabled, Update { enabled: Some(true), ..Update::default() }, 60));
    assert!(update(&plain, lasting("1h"), 60));
    assert!(!update(&plain, lasting("17520h"), 60));
    assert!(!update(&plain, lasting("forever"), 60));
    assert!(!update(&plain, lasting("1h"), YEAR), "it had expired");
    let forever = plain.updated(&lasting("forever"), None, at(1));
    assert!(update(&forever, lasting("876000h"), 60), "what never ends now does");

    assert!(plain.narrows(&plain.rotated(None, digest(2), at(60)), at(60)));
    assert!(plain.narrows(&grace, at(0)), "the secret would have lived longer than its grace");
    let to_the_end = plain.rotated(Some(whole(2 * YEAR)), digest(2), at(60));
    assert!(!plain.narrows(&to_the_end, at(60)), "the secret lives as long as its token");
    assert!(update(&grace, until(whole(1_800)), 60));
    assert!(update(&grace, until(whole(0)), 60));
    assert!(update(&grace, Update { previous_expires_at: Patch::Clear, ..Update::default() }, 60));
    assert!(!update(&grace, until(whole(7_200)), 60));
    assert!(!update(&grace, until(whole(1_800)), 3_600), "the grace had lapsed");
    assert!(grace.narrows(&grace.rotated(Some(whole(YEAR + 9)), digest(3), at(60)), at(60)), "the oldest is dropped");
    assert!(!plain.narrows(&plain.refreshed(at(60)), at(60)));

    let allowed =
        |before: &ServiceToken, list: Option<&str>| before.allowed_from(list.map(|list| list.parse().unwrap()), at(60));
    let listed = allowed(&plain, Some("10.0.0.0/8,192.0.2.7"));
    assert!(plain.narrows(&listed, at(60)), "from anywhere to somewhere");
    assert!(plain.narrows(&allowed(&plain, Some("0.0.0.0/0,::/0")), at(60)), "who comes from nobody knows where");
    assert!(!listed.narrows(&plain, at(60)) && !listed.narrows(&listed, at(60)));
    assert!(listed.narrows(&allowed(&listed, Some("10.0.0.0/8")), at(60)));
    assert!(listed.narrows(&allowed(&listed, Some("10.0.0.0/9,192.0.2.7")), at(60)));
    assert!(!listed.narrows(&allowed(&listed, Some("10.0.0.0/9,10.128.0.0/9,192.0.2.0/24")), at(60)));
    assert!(!disabled.narrows(&allowed(&disabled, Some("10.0.0.0/8")), at(60)), "it admits nothing");
    assert!(!plain.narrows(&listed, at(YEAR)), "it had expired");
}

#[test]
fn a_list_of_networks_that_is_the_same_changes_nothing() {
    let list = |text: &str| Some(text.parse().unwrap());
    let listed = token().allowed_from(list("10.0.0.0/8"), at(5));
    assert_eq!((listed.updated_at, listed.allow_from.clone()), (at(5), list("10.0.0.0/8")));
    assert_eq!(listed.allowed_from(list("10.0.0.0/8"), at(9)).updated_at, at(5));
    assert_eq!(token().allowed_from(None, at(9)).updated_at, token().updated_at);
    assert_eq!(listed.allowed_from(None, at(9)).updated_at, at(9));
}

#[test]
fn a_part_of_a_name_folds_to_a_part_of_the_folded_name() {
    for (name, part) in [("ΟΔΟΣ", "Σ"), ("ΟΔΟΣ 5", "ΟΣ"), ("İstanbul", "İ"), ("STRASSE", "asse")] {
        assert!(fold(name).contains(&fold(part)), "{part:?} in {name:?}");
    }
}
