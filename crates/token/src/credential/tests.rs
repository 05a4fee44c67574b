use std::borrow::Cow;

use super::{Credential, Presented};
use crate::digest::BearerKind;
use crate::id::ClientId;

const ID: &str = "88bf3b6d86161464f6509f7219099e57.access";
const OBJECT: &str =
    r#"{"cf-access-client-id":"88bf3b6d86161464f6509f7219099e57.access","cf-access-client-secret":"hush"}"#;
const JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjIn0.c2ln-_";

fn check(headers: &[(&str, &str)], single_header: Option<&str>, expected: &Presented<'_>) {
    let bytes = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    assert_eq!(&Presented::from_headers(bytes, single_header), expected, "{headers:?} {single_header:?}");
}

fn pair(secret: &str) -> Presented<'_> {
    let client_id: ClientId = ID.parse().unwrap();
    Presented::Credential(Credential::Pair { client_id, secret: Cow::Borrowed(secret) })
}

fn unknown_pair(secret: &str) -> Presented<'_> {
    Presented::Credential(Credential::UnknownPair { secret: Cow::Borrowed(secret) })
}

fn bearer(kind: BearerKind, token: &str) -> Presented<'_> {
    Presented::Credential(Credential::Bearer { kind, token })
}

#[test]
fn a_pair_in_any_case() {
    for [id, secret] in [
        ["CF-Access-Client-Id", "CF-Access-Client-Secret"],
        ["cf-access-client-id", "cf-access-client-secret"],
        ["Cf-aCCESS-cLIENT-iD", "CF-ACCESS-CLIENT-SECRET"],
    ] {
        check(&[(id, ID), (secret, "hush")], None, &pair("hush"));
        check(&[("accept", "*/*"), (secret, "hush"), ("host", "x"), (id, ID)], None, &pair("hush"));
    }
}

#[test]
fn what_is_not_a_whole_pair_is_malformed() {
    let id = ("cf-access-client-id", ID);
    let secret = ("cf-access-client-secret", "hush");
    let half = |value| [("cf-access-client-id", value), secret];
    for headers in [
        &[id][..],
        &[secret],
        &[id, id, secret],
        &[id, secret, secret],
        &[id, secret, ("CF-Access-Client-Id", "")],
        &[id, ("authorization", "Bearer x")],
        &half(""),
        &half(" "),
        &half("é"),
        &half(&format!(" {ID}")),
        &half(&format!("{ID}\t")),
        &half(&"x".repeat(65)),
        &[id, ("cf-access-client-secret", "")],
        &[id, ("cf-access-client-secret", "two words")],
        &[id, ("cf-access-client-secret", "\u{7f}")],
        &[id, ("cf-access-client-secret", "hüsh")],
        &[id, ("cf-access-client-secret", &"x".repeat(513))],
    ] {
        check(headers, None, &Presented::Malformed);
    }
    let not_utf8: [(&str, &[u8]); 2] = [("cf-access-client-id", ID.as_bytes()), ("cf-access-client-secret", b"\xff")];
    assert_eq!(Presented::from_headers(not_utf8, None), Presented::Malformed);
}

#[test]
fn a_well_formed_pair_may_be_nobodys() {
    let secret = "x".repeat(512);
    for id in ["x", "88bf3b6d86161464f6509f7219099e57.access.example.com", &ID.to_uppercase(), &"x".repeat(64)] {
        check(&[("cf-access-client-id", id), ("cf-access-client-secret", &secret)], None, &unknown_pair(&secret));
    }
}

#[test]
fn a_bearer_by_its_form() {
    let check = |value: &str, expected: &Presented<'_>| {
        check(&[("host", "x"), ("Authorization", value)], None, expected);
    };
    check(&format!("Bearer {JWT}"), &bearer(BearerKind::ApiToken, JWT));
    check(&format!("bEARER   {JWT}"), &bearer(BearerKind::ApiToken, JWT));
    for token in ["x", "csat_abc", "a.b", "a.b.c.d", "a..c", "a.b.", ".b.c", "a.b.c=", "a/b.c.d", &"x".repeat(4_096)] {
        check(&format!("Bearer {token}"), &bearer(BearerKind::ManagementToken, token));
    }
    for value in ["Bearer", "Bearer ", "", " ", " Bearer x", "Bearer x y", "Bearer x ", "Bearer é", "bearer\tx"] {
        let expected = if value == "bearer\tx" { Presented::Missing } else { Presented::Malformed };
        check(value, &expected);
    }
    check(&format!("Bearer {}", "x".repeat(4_097)), &Presented::Malformed);
    for value in ["Basic eDp5", "Bearerx y", "Negotiate", "Digest é", "CF-Access x", OBJECT] {
        check(value, &Presented::Missing);
    }
}

#[test]
fn nothing_is_missing() {
    check(&[], None, &Presented::Missing);
    check(&[("host", "x"), ("cookie", "CF_Authorization=x")], Some("x-token"), &Presented::Missing);
}

#[test]
fn two_authorizations_are_malformed_unless_a_pair_is_there() {
    let twice = [("authorization", "Bearer x"), ("authorization", "Basic x")];
    check(&twice, None, &Presented::Malformed);
    check(&twice, Some("authorization"), &Presented::Malformed);
    let with_pair = [twice[0], ("cf-access-client-id", ID), ("cf-access-client-secret", "hush"), twice[1]];
    check(&with_pair, None, &pair("hush"));
    check(&with_pair, Some("Authorization"), &pair("hush"));
}

#[test]
fn an_authorization_beside_a_pair_belongs_to_the_upstream() {
    for value in ["Bearer x", "Basic eDp5", "", "é", &format!("Bearer {JWT}")] {
        let headers = [("authorization", value), ("cf-access-client-id", ID), ("cf-access-client-secret", "hush")];
        check(&headers, None, &pair("hush"));
        check(&headers, Some("authorization"), &pair("hush"));
    }
}

#[test]
fn the_single_header_where_it_is_named() {
    check(&[("X-Token", OBJECT)], Some("x-token"), &pair("hush"));
    check(&[("X-Token", OBJECT), ("authorization", "Bearer x")], Some("x-token"), &pair("hush"));
    // Not named: ignored.
    check(&[("X-Token", OBJECT)], None, &Presented::Missing);
    check(&[("X-Token", OBJECT)], Some("x-other"), &Presented::Missing);
    // Named: the plain pair alone still works.
    check(&[("cf-access-client-id", ID), ("cf-access-client-secret", "hush")], Some("x-token"), &pair("hush"));
    // Both, or doubled: malformed.
    for extra in
        [("x-token", OBJECT), ("cf-access-client-id", ID), ("cf-access-client-secret", "hush"), ("X-Token", "")]
    {
        check(&[("x-token", OBJECT), extra], Some("x-token"), &Presented::Malformed);
    }
    let pair_and_garbage = [("cf-access-client-id", ID), ("cf-access-client-secret", "hush"), ("x-token", "x")];
    check(&pair_and_garbage, Some("x-token"), &Presented::Malformed);
    for value in ["", "x", "[]", "\"x\"", "Bearer x", "null", "é"] {
        check(&[("x-token", value)], Some("x-token"), &Presented::Malformed);
    }
}

#[test]
fn authorization_as_the_single_header() {
    let single = Some("Authorization");
    check(&[("authorization", OBJECT)], single, &pair("hush"));
    check(&[("authorization", &format!("  {OBJECT}"))], single, &pair("hush"));
    check(&[("authorization", &format!("Bearer {JWT}"))], single, &bearer(BearerKind::ApiToken, JWT));
    check(&[("authorization", "Basic eDp5")], single, &Presented::Missing);
    for value in ["{", "{}", "{\"cf-access-client-id\":\"x\"}"] {
        check(&[("authorization", value)], single, &Presented::Malformed);
    }
    check(&[("authorization", OBJECT), ("authorization", "Basic x")], single, &Presented::Malformed);
    check(&[("authorization", OBJECT), ("authorization", OBJECT)], single, &Presented::Malformed);
    let beside_a_pair = [("authorization", OBJECT), ("cf-access-client-id", ID), ("cf-access-client-secret", "hush")];
    check(&beside_a_pair, single, &Presented::Malformed);
    check(&beside_a_pair, None, &pair("hush"));
}

#[test]
fn the_object_is_read_strictly() {
    let check = |value: &str, expected: &Presented<'_>| check(&[("x-token", value)], Some("x-token"), expected);
    let id = format!(r#""cf-access-client-id":"{ID}""#);
    let secret = r#""cf-access-client-secret":"hush""#;
    // Order, white space, escapes and other keys don't matter.
    for value in [
        format!("{{{secret},{id}}}"),
        format!(" {{ {id} ,\t{secret} }} "),
        format!(r#"{{{id},"cf\u002daccess-client-secret":"h\u0075sh"}}"#),
        format!(r#"{{"a":[1,{{"b":null}},"]"],{id},"c":-1.5e+3,{secret},"d":{{}},"e":true}}"#),
        format!(r#"{{"\ud83d\udd11":"\n\u00e9",{id},{secret}}}"#),
        format!(r#"{{"CF-Access-Client-Id":"x",{id},{secret}}}"#),
    ] {
        check(&value, &pair("hush"));
    }
    check(&OBJECT.replace(ID, "x"), &unknown_pair("hush"));
    let long = "x".repeat(512);
    check(&OBJECT.replace("hush", &long), &pair(&long));
    check(&OBJECT.replace("hush", r#"\"\\\/"#), &pair("\"\\/"));

    let (id, many) = (id.as_str(), "x".repeat(2_048));
    for value in [
        // Keys in another case are other keys.
        r#"{"CF-Access-Client-Id":"x","CF-Access-Client-Secret":"hush"}"#,
        // Half a pair, and keys that stand there twice, wanted or not.
        &format!("{{{id}}}"),
        &format!("{{{secret}}}"),
        &format!("{{{id},{id},{secret}}}"),
        &format!(r#"{{{id},{secret},"cf-access-client\u002dsecret":"x"}}"#),
        &format!(r#"{{{id},{secret},"a":1,"a":1}}"#),
        // Values that aren't strings, or not such as a header may hold.
        &format!(r#"{{{id},"cf-access-client-secret":null}}"#),
        &format!(r#"{{{id},"cf-access-client-secret":["hush"]}}"#),
        &format!(r#"{{{id},"cf-access-client-secret":""}}"#),
        &format!(r#"{{{id},"cf-access-client-secret":"two words"}}"#),
        &format!(r#"{{{id},"cf-access-client-secret":"\u00e9"}}"#),
        &format!(r#"{{{id},"cf-access-client-secret":"{}"}}"#, "x".repeat(513)),
        &format!(r#"{{{secret},"cf-access-client-id":"{}"}}"#, "x".repeat(65)),
        // No JSON.
        &format!("{{{id},{secret}"),
        &format!("{{{id},{secret}}}}}"),
        &format!("{{{id},{secret},}}"),
        &format!("{{{id} {secret}}}"),
        &format!("{{,{id},{secret}}}"),
        &format!("{{'a':1,{id},{secret}}}"),
        &format!("{{a:1,{id},{secret}}}"),
        &format!(r#"{{"a":01,{id},{secret}}}"#),
        &format!(r#"{{"a":.5,{id},{secret}}}"#),
        &format!(r#"{{"a":+1,{id},{secret}}}"#),
        &format!(r#"{{"a":1.,{id},{secret}}}"#),
        &format!(r#"{{"a":tru,{id},{secret}}}"#),
        &format!(r#"{{"a":"\x",{id},{secret}}}"#),
        &format!(r#"{{"a":"\ud83d",{id},{secret}}}"#),
        &format!(r#"{{"a":"\udd11",{id},{secret}}}"#),
        &format!(r#"{{"a":"\u12g4",{id},{secret}}}"#),
        &format!(r#"{{"a":"\u+123",{id},{secret}}}"#),
        &format!("{{\"a\":\"\t\",{id},{secret}}}"),
        &format!(r#"{{"a":[[1],{id},{secret}}}"#),
        &format!(r#"{{"é":1,{id},{secret}}}"#),
        // Too deep, too long.
        &format!(r#"{{"a":{}{},{id},{secret}}}"#, "[".repeat(16), "]".repeat(16)),
        &format!("{{{id},{secret}}}{}", " ".repeat(2_048)),
        &format!(r#"{{"a":"{many}",{id},{secret}}}"#),
    ] {
        check(value, &Presented::Malformed);
    }
    let deep = format!(r#"{{"a":{}{},{id},{secret}}}"#, "[".repeat(15), "]".repeat(15));
    check(&deep, &pair("hush"));
}

#[test]
fn debug_shows_no_secret() {
    let credential = pair("hush");
    assert_eq!(format!("{credential:?}"), format!("Credential(Pair({ID}, ..))"));
    let shown = format!("{:?} {:?}", unknown_pair("hush"), bearer(BearerKind::ApiToken, "hush"));
    assert!(!shown.contains("hush"), "{shown}");
}
