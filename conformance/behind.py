"""What any proxy in front of a live gate must do: who gets through with which headers, and that nobody else does."""

import base64
import contextlib
import datetime
import http.client
import json
import signal
import socket
import sys
import time
import unittest
import urllib.parse

import live
import report
from load import Load, change
from scene import Application, StandIn, program
from wire import PATIENCE, Client, credentials

IDENTITY = ("Countersign-Kind", "Countersign-Token-Id", "Countersign-Token-Name", "Countersign-Client-Id",
            "Countersign-Account-Id", "Countersign-Zone-Id", "Countersign-Environment-Id")
NEVER_PASSED = ("Countersign-Reason", "Cf-Access-Jwt-Assertion", "CF-Access-Client-Id", "CF-Access-Client-Secret")
ADMITTED = (200, None)
# What a proxy tells the application about where a request came from, and clients must not.
FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server",
             "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix", "X-Real-Ip", "Forwarded")

# The gate believes the proxy about where a request came from.
TRUSTING = ("--trusted-proxies", "127.0.0.1, unix")


class Behind(unittest.TestCase):
    """One proxy for the class, one connection for the test."""

    server = None
    application = None
    proxy_class = None
    # What a client gets where the gate can't be asked, and when it may come again, if the proxy can say so.
    unavailable = 503
    # What a client gets that names X-Forwarded-For in Connection: the application's answer, or the proxy's refusal.
    naming = 200
    retry_after = "1"

    @classmethod
    def gate(cls):
        """The gate's address in the proxy's words."""
        return urllib.parse.urlsplit(cls.server.gate).netloc

    @classmethod
    def start_proxy(cls):
        return cls.proxy_class(cls.gate(), cls.application.address, cls.account_id)

    @classmethod
    def setUpClass(cls):
        cls.account_id = cls.server.installation["account"]["id"]
        cls.proxy = cls.start_proxy()

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()

    def setUp(self):
        self.client = Client(self.proxy.port)
        self.addCleanup(self.client.close)

    def api(self, method, path, body=None, scope=None):
        """One call of the Cloudflare dialect, which must succeed."""
        path = f"/client/v4/{scope or 'accounts/' + self.account_id}/access/service_tokens{path}"
        return self.manage(method, path, body)["result"]

    def manage(self, method, path, body=None):
        """One call of the management API, which must succeed."""
        management = urllib.parse.urlsplit(self.server.management)
        connection = http.client.HTTPConnection(management.hostname, management.port, timeout=PATIENCE)
        try:
            connection.request(
                method, path, json.dumps(body) if body is not None else None,
                {"X-Auth-Email": self.server.installation["user"]["email"],
                 "X-Auth-Key": self.server.installation["user"]["api_key"]})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        self.assertIn(response.status, (200, 201), answer)
        return answer

    def allow_from(self, token, networks):
        """Says where a token may come from."""
        path = f"/admin/v1/accounts/{self.account_id}/service_tokens/{token['id']}/allow_from"
        self.assertEqual(self.manage("PUT", path, {"networks": networks}), {"networks": networks})

    def create(self, scope=None, **fields):
        return self.api("POST", "", {"name": self._testMethodName, **fields}, scope)

    def stranger(self):
        """Another account, which the proxy's demand does not name."""
        return self.server.create_account(f"other-{type(self).__name__}-{self._testMethodName}".lower())["account_id"]

    def update(self, token, **fields):
        return self.api("PUT", f"/{token['id']}", fields)

    def ask(self, pair, **request):
        return self.client.request(credentials(pair), **request)

    def refused(self, headers, status, reason):
        """Refused by the proxy with the gate's words, and the application heard nothing of it."""
        reached = self.application.reached
        answer = self.client.request(headers)
        self.assertEqual((answer.status, answer.reason), (status, reason))
        self.assertEqual("WWW-Authenticate" in answer.headers, status == 401)
        self.assertEqual(self.application.reached, reached)

    def check_unavailable(self, answer, status=None):
        """What a client learns where the gate was no help: nobody has judged it, and nobody lets it through."""
        self.assertEqual(answer.status, status or self.unavailable)
        if answer.status == self.unavailable:
            self.assertEqual(answer.headers["Retry-After"], self.retry_after)

    def judged(self, load, first, changes, least):
        """Every answer was right, and each state was seen without doubt often enough to mean something."""
        wrong, certain = load.judge(first, changes)
        self.assertEqual(wrong, [])
        for count in certain:
            self.assertGreaterEqual(count, least)


class Admission:
    """What reaches the application, and what does not."""

    def test_admitted_with_the_tokens_identity(self):
        token = self.create(name="nämed 100%")
        answer = self.ask(token)
        self.assertEqual(answer.status, 200)
        seen = answer.seen()
        self.assertEqual(seen["countersign-kind"], ["service_token"])
        self.assertEqual(seen["countersign-token-id"], [token["id"]])
        self.assertEqual(seen["countersign-token-name"], ["n%C3%A4med%20100%25"])
        self.assertEqual(seen["countersign-client-id"], [token["client_id"]])
        self.assertEqual(seen["countersign-account-id"], [self.account_id])
        self.assertNotIn("countersign-zone-id", seen)
        self.assertNotIn("countersign-environment-id", seen)
        for name in NEVER_PASSED:
            self.assertNotIn(name.lower(), seen)
        self.assertNotIn(token["client_secret"].encode(), answer.body)

    def test_a_zones_token_brings_its_zone(self):
        zone_id = self.server.installation["zone"]["id"]
        token = self.create(scope=f"zones/{zone_id}")
        seen = self.ask(token).seen()
        self.assertEqual(seen["countersign-zone-id"], [zone_id])
        self.assertEqual(seen["countersign-account-id"], [self.account_id])

    def test_a_bearer_is_judged_and_kept_back(self):
        bearer = self.server.installation["account_token"]
        answer = self.client.request([("Authorization", f"Bearer {bearer}")])
        self.assertEqual(answer.status, 200)
        seen = answer.seen()
        self.assertEqual(seen["countersign-kind"], ["api_token"])
        self.assertEqual(seen["countersign-account-id"], [self.server.installation["account"]["pfid"]])
        self.assertNotIn("countersign-client-id", seen)
        self.assertNotIn("authorization", seen)
        self.assertNotIn(bearer.encode(), answer.body)

    def test_authorization_beside_a_pair_is_the_applications(self):
        token = self.create()
        for value in ("Basic dXNlcjpwYXNz", "Bearer for-the-application"):
            seen = self.client.request([*credentials(token), ("Authorization", value)]).seen()
            self.assertEqual(seen["authorization"], [value])
            self.assertEqual(seen["countersign-token-id"], [token["id"]])

    def test_header_names_in_any_case(self):
        token = self.create()
        for write in (str.lower, str.upper):
            headers = [(write(name), value) for name, value in credentials(token)]
            self.assertEqual(self.client.request(headers).status, 200)

    def test_spoofed_headers_never_arrive(self):
        token = self.create()
        spoofed = "11111111-1111-4111-8111-111111111111"
        headers = credentials(token)
        for name in (*IDENTITY, "Countersign-Reason", "Cf-Access-Jwt-Assertion"):
            # Twice, in another case, and in the form that CGI-like servers take for the same name.
            headers += [(name, spoofed), (name.upper(), spoofed), (name.lower(), spoofed), (name.replace("-", "_"), spoofed)]
        answer = self.client.request(headers)
        self.assertEqual(answer.status, 200)
        self.assertNotIn(spoofed.encode(), answer.body)
        seen = answer.seen()
        self.assertEqual(seen["countersign-token-id"], [token["id"]])
        self.assertEqual(seen["countersign-account-id"], [self.account_id])
        self.assertEqual({name for name in seen if name.startswith("countersign")},
                         {"countersign-kind", "countersign-token-id", "countersign-token-name", "countersign-client-id",
                          "countersign-account-id"})
        self.assertNotIn("cf-access-jwt-assertion", seen)

    def test_where_a_request_came_from_is_the_proxys_to_say(self):
        token = self.create()
        headers = credentials(token)
        for name in FORWARDED:
            headers += [(form, "198.51.100.7") for form in (name, name.upper(), name.replace("-", "_"))]
        answer = self.client.request(headers)
        self.assertEqual(answer.status, 200)
        self.assertNotIn(b"198.51.100.7", answer.body)
        self.assertEqual(answer.seen()["x-forwarded-for"], ["127.0.0.1"])

    def test_a_client_that_names_headers_in_connection(self):
        # A proxy drops what Connection names: that must not take the identity away.
        token = self.create()
        answer = self.client.request([*credentials(token), ("Connection", f"keep-alive, {', '.join(IDENTITY)}")])
        self.assertEqual(answer.status, 200)
        seen = answer.seen()
        self.assertEqual(seen["countersign-kind"], ["service_token"])
        self.assertEqual(seen["countersign-token-id"], [token["id"]])
        self.assertEqual(seen["countersign-account-id"], [self.account_id])
        answer = self.client.request([*credentials(token), ("Connection", "keep-alive, X-Forwarded-For")])
        self.assertEqual(answer.status, self.naming)
        if answer.status == 200:
            self.assertEqual(answer.seen()["x-forwarded-for"], ["127.0.0.1"])

    def test_large_headers(self):
        token = self.create()
        cookie = "c=" + "x" * 6000
        answer = self.client.request([*credentials(token), ("Cookie", cookie)])
        self.assertEqual((answer.status, answer.seen()["cookie"]), (200, [cookie]))
        self.refused([("Cookie", cookie)], 401, "missing")
        reached = self.application.reached
        for headers in ([("Cookie", cookie * 20)], [(f"X-{number}", "x" * 1000) for number in range(120)]):
            client = Client(self.proxy.port)
            try:
                self.assertIn(client.request([*credentials(token), *headers]).status, (400, 431))
            except (ConnectionError, http.client.HTTPException):
                # Whoever does not read all of it may close before the client has written all of it.
                pass
            finally:
                client.close()
        self.assertEqual(self.application.reached, reached)

    def test_websocket(self):
        token = self.create()
        with Upgraded(self.proxy.port, credentials(token)) as channel:
            self.assertEqual((channel.status, channel.headers["Seen"]), (101, token["id"]))
            for line in (b"hello\n", b"x" * 10_000 + b"\n"):
                self.assertEqual(channel.echoed(line), line)

    def test_websocket_refused(self):
        reached = self.application.reached
        for headers, status in (([], 401), ([("Authorization", "Bearer x")], 401),
                                (credentials(self.create(scope=f"accounts/{self.stranger()}")), 403)):
            with Upgraded(self.proxy.port, headers) as channel:
                self.assertEqual(channel.status, status)
                self.assertEqual("WWW-Authenticate" in channel.headers, status == 401)
        self.assertEqual(self.application.reached, reached)

    def test_spoofed_headers_admit_nobody(self):
        headers = [(name, "11111111-1111-4111-8111-111111111111") for name in IDENTITY]
        self.refused(headers, 401, "missing")
        self.refused([*headers, ("Cf-Access-Jwt-Assertion", "e30.e30.e30")], 401, "missing")

    def test_any_method_and_body(self):
        token = self.create()
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            body = b"x" * 100_000 if method in ("POST", "PUT") else None
            answer = self.ask(token, method=method, path="/some/path?with=query", body=body)
            self.assertEqual(answer.status, 200, method)
            if method == "HEAD":
                continue
            got = json.loads(answer.body)
            self.assertEqual((got["method"], got["path"], got["length"]),
                             (method, "/some/path?with=query", len(body or b"")))
        answer = self.client.request_chunked(credentials(token), "/chunked", [b"y" * 5000] * 20)
        self.assertEqual((answer.status, json.loads(answer.body)["length"]), (200, 100_000))

    def test_the_applications_own_errors_are_its_own(self):
        answer = self.ask(self.create(), path="/broken")
        self.assertEqual((answer.status, answer.body), (500, b"the application's own"))

    def test_use_shows_in_last_seen(self):
        token = self.create()
        began = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        self.assertEqual(self.ask(token).status, 200)
        deadline = time.monotonic() + 10
        seen = None
        while seen is None and time.monotonic() < deadline:
            seen = self.api("GET", f"/{token['id']}").get("last_seen_at")
        self.assertIsNotNone(seen)
        self.assertGreaterEqual(datetime.datetime.fromisoformat(seen.replace("Z", "+00:00")), began)

    def test_use_shows_who_came_with_which_secret(self):
        token = self.create()
        lies = [("User-Agent", "behind/1"), ("X-Forwarded-For", "203.0.113.9")]
        self.assertEqual(self.client.request([*credentials(token), *lies]).status, 200)
        path = f"/admin/v1/accounts/{self.account_id}/service_tokens/{token['id']}/rotation"
        secret = self.manage("GET", path)["current_secret"]
        self.assertEqual((secret["version"], secret["user_agent"], secret["address"]), (1, "behind/1", "127.0.0.1"))


class Assertion:
    """What the gate says, signed, where the demand names an audience."""

    def test_an_assertion_for_the_audience_of_the_demand(self):
        token = self.create()
        demand = f"{self.account_id}&aud=application"
        with contextlib.closing(self.proxy_class(self.gate(), self.application.address, demand)) as proxy:
            client = Client(proxy.port)
            self.addCleanup(client.close)
            spoofed = ("Cf-Access-Jwt-Assertion", "e30.e30.e30")
            answer = client.request([*credentials(token), spoofed])
            self.assertEqual(answer.status, 200)
            [assertion] = answer.seen()["cf-access-jwt-assertion"]
            payload = assertion.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            self.assertEqual((claims["aud"], claims["common_name"]), (["application"], token["client_id"]))
            self.assertEqual(client.request([spoofed]).status, 401)


class Refusal:
    """Who is turned away, with which words."""

    def test_no_or_broken_credentials(self):
        token = self.create()
        named, secret = credentials(token)
        self.refused([], 401, "missing")
        self.refused([("Authorization", "Basic dXNlcjpwYXNz")], 401, "missing")
        self.refused([named], 401, "malformed")
        self.refused([secret], 401, "malformed")
        self.refused([named, named, secret], 401, "malformed")
        self.refused([named, secret, secret], 401, "malformed")
        self.refused([named, ("CF-Access-Client-Secret", "")], 401, "malformed")

    def test_unknown_and_wrong_look_alike(self):
        token = self.create()
        wrong = credentials({**token, "client_secret": "csec_" + "0" * 46})
        unknown = credentials({**token, "client_id": "0" * 32 + ".access"})
        self.refused(wrong, 401, "invalid")
        self.refused(unknown, 401, "invalid")
        answers = [self.client.request(headers) for headers in (wrong, unknown)]
        said = [sorted((name, value) for name, value in answer.headers.items() if name not in ("Date",)) for answer in answers]
        self.assertEqual(said[0], said[1])
        self.assertEqual(answers[0].body, answers[1].body)

    def test_the_gate_learns_where_an_attempt_came_from(self):
        token = self.create()
        client = Client(self.proxy.port, address="127.0.0.9")
        self.addCleanup(client.close)
        wrong = credentials({**token, "client_secret": "csec_" + "0" * 46})
        answer = client.request([*wrong, ("X-Forwarded-For", "203.0.113.9")])
        self.assertEqual((answer.status, answer.reason), (401, "invalid"))
        limit = time.monotonic() + PATIENCE
        refused = ("audit", "list", "--action", "service_token.refused", "--subject", token["id"])
        while not (events := self.server.command(*refused)):
            self.assertLess(time.monotonic(), limit, "the attempt is not in the audit log")
        self.assertEqual([event["address"] for event in events], ["127.0.0.9"])

    def test_only_from_the_networks_of_its_list(self):
        token = self.create()
        self.allow_from(token, ["127.0.0.8/30", "2001:db8::/32"])
        inside, outside = (Client(self.proxy.port, address) for address in ("127.0.0.9", "127.0.0.12"))
        self.addCleanup(inside.close)
        self.addCleanup(outside.close)
        self.assertEqual(inside.request(credentials(token)).status, 200)
        reached = self.application.reached
        for client in (outside, self.client):
            for said in ([], [("X-Forwarded-For", "127.0.0.9")]):
                answer = client.request([*credentials(token), *said])
                self.assertEqual((answer.status, answer.reason), (403, "address_not_allowed"))
        self.assertEqual(self.application.reached, reached)
        # A proxy of ours is no client, whatever the list says; and none is named where there is no list.
        self.allow_from(token, ["0.0.0.0/0"])
        self.refused(credentials(token), 403, "address_not_allowed")
        self.assertEqual(outside.request(credentials(token)).status, 200)
        self.allow_from(token, None)
        self.assertEqual(self.ask(token).status, 200)

    def test_disabled_and_deleted(self):
        token = self.create(enabled=False)
        self.refused(credentials(token), 401, "disabled")
        self.api("DELETE", f"/{token['id']}")
        self.refused(credentials(token), 401, "invalid")

    def test_management_credentials_open_no_gate(self):
        for secret in (self.server.installation["api_token"], self.server.installation["user"]["api_key"]):
            self.refused([("Authorization", f"Bearer {secret}")], 401, "invalid")

    def test_another_accounts_token(self):
        other = self.stranger()
        token = self.create(scope=f"accounts/{other}")
        self.refused(credentials(token), 403, "not_permitted")
        for path in (f"/?account_id={other}", f"/verify?account_id={other}"):
            self.assertEqual(self.ask(token, path=path).status, 403)
        headers = credentials(token)
        for name in ("X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url", "X-Envoy-Original-Path"):
            headers.append((name, f"/verify?account_id={other}"))
        self.refused(headers, 403, "not_permitted")

    def test_expiry_to_the_millisecond(self):
        before = time.monotonic()
        token = self.create(duration="1500ms")
        after = time.monotonic()
        # The server's clock and ours may drift apart a little in a second and a half.
        drift = 0.005
        answers = []
        while time.monotonic() < after + 2:
            began = time.monotonic()
            answer = self.ask(token)
            answers.append((began, time.monotonic(), (answer.status, answer.reason)))
        for began, ended, outcome in answers:
            if ended < before + 1.5 - drift:
                self.assertEqual(outcome, ADMITTED)
            elif began > after + 1.5 + drift:
                self.assertEqual(outcome, (401, "expired"))
        self.assertIn(ADMITTED, [outcome for _, _, outcome in answers])
        self.assertEqual(answers[-1][2], (401, "expired"))


class UnderLoad:
    """Changes while clients keep asking: not one wrong answer, and none late."""

    def test_rotation_with_grace(self):
        old = self.create()
        with_old = Load(self.proxy.port, credentials(old))
        try:
            with_old.wait(50)
            until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
            new = self.api("POST", f"/{old['id']}/rotate", {"previous_client_secret_expires_at": until.isoformat()})
            self.assertNotEqual(new["client_secret"], old["client_secret"])
            rotated = time.monotonic()
            with_new = Load(self.proxy.port, credentials(new))
            try:
                with_old.wait(100, since=rotated)
                with_new.wait(100, since=rotated)
                ended = change((401, "invalid"), lambda: self.update(old, previous_client_secret_expires_at=None))
                with_old.wait(50, since=ended.returned)
                with_new.wait(50, since=ended.returned)
            finally:
                with_new.stop()
        finally:
            with_old.stop()
        self.judged(with_old, ADMITTED, [ended], least=150)
        self.judged(with_new, ADMITTED, [], least=450)

    def test_rotations_without_grace(self):
        token = self.create()
        for _ in range(5):
            load = Load(self.proxy.port, credentials(token))
            try:
                load.wait(20)
                rotated = []
                ended = change((401, "invalid"), lambda: rotated.append(self.api("POST", f"/{token['id']}/rotate")))
                self.assertEqual(self.ask(rotated[0]).status, 200)
                load.wait(20, since=ended.returned)
            finally:
                load.stop()
            self.judged(load, ADMITTED, [ended], least=50)
            token = rotated[0]

    def test_disabled_and_enabled_again_and_again(self):
        token = self.create()
        load = Load(self.proxy.port, credentials(token))
        changes = []
        try:
            load.wait(10)
            for _ in range(10):
                for enabled, outcome in ((False, (401, "disabled")), (True, ADMITTED)):
                    changes.append(change(outcome, lambda enabled=enabled: self.update(token, enabled=enabled)))
                    load.wait(5, since=changes[-1].returned)
        finally:
            load.stop()
        self.judged(load, ADMITTED, changes, least=5)

    def test_the_very_next_request(self):
        token = self.create()
        for _ in range(50):
            self.update(token, enabled=False)
            self.assertEqual(self.ask(token).reason, "disabled")
            self.update(token, enabled=True)
            self.assertEqual(self.ask(token).status, 200)

    def test_deleted(self):
        token = self.create()
        load = Load(self.proxy.port, credentials(token))
        try:
            load.wait(30)
            gone = change((401, "invalid"), lambda: self.api("DELETE", f"/{token['id']}"))
            load.wait(30, since=gone.returned)
        finally:
            load.stop()
        self.judged(load, ADMITTED, [gone], least=80)


class GateDown:
    """A gate that can't be asked lets nobody through, and is found again when it is back."""

    def check_closed(self, token):
        reached = self.application.reached
        for headers in [credentials(token), [], [(name, "x") for name in IDENTITY]] * 10:
            self.check_unavailable(self.client.request(headers))
        with Upgraded(self.proxy.port, credentials(token)) as channel:
            self.assertEqual(channel.status, self.unavailable)
        self.assertEqual(self.application.reached, reached)

    def test_stopped(self):
        token = self.create()
        self.assertEqual(self.ask(token).status, 200)
        self.server.stop()
        try:
            self.check_closed(token)
        finally:
            self.server.start()
        self.assertEqual(self.ask(token).status, 200)

    def test_killed(self):
        token = self.create()
        self.assertEqual(self.ask(token).status, 200)
        self.server.kill()
        try:
            self.check_closed(token)
        finally:
            self.server.start()
        self.assertEqual(self.ask(token).status, 200)


class OddGate:
    """Whatever the gate may say that is neither yes nor no, the proxy does not take for a yes."""

    @classmethod
    def gate(cls):
        cls.stand_in = StandIn()
        return cls.stand_in.address

    @classmethod
    def tearDownClass(cls):
        cls.stand_in.close()
        super().tearDownClass()

    @classmethod
    def shown(cls, _manner):
        """The status that a client gets where the gate answered in that manner."""
        return cls.unavailable

    def test_only_two_hundreds_admit(self):
        self.stand_in.manner = 200
        self.assertEqual(self.client.request().seen()["countersign-token-id"], ["of the stand-in"])
        reached = self.application.reached
        for manner in (301, 302, 400, 404, 418, 429, 500, 502, 503, 504, "cut", "garbage"):
            self.stand_in.manner = manner
            with self.subTest(manner=manner):
                self.check_unavailable(self.client.request(), self.shown(manner))
        self.assertEqual(self.application.reached, reached)

    def test_a_gate_that_hangs(self):
        self.stand_in.manner = "hang"
        reached = self.application.reached
        self.check_unavailable(self.client.request())
        self.assertEqual(self.application.reached, reached)


class Upgraded:
    """A connection on which a client asked for WebSocket."""

    def __init__(self, port, headers):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        asked = [("Host", "app.example.com"), ("Connection", "Upgrade"), ("Upgrade", "websocket"),
                 ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), *headers]
        self._socket.sendall(("GET /live HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in asked)
                              + "\r\n").encode())
        self._response = http.client.HTTPResponse(self._socket)
        self._response.begin()
        self.status = self._response.status
        self.headers = self._response.headers

    def echoed(self, line):
        self._socket.sendall(line)
        return self._response.fp.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._response.close()
        self._socket.close()


class Slowing:
    """Who tries wrong credentials is told to wait, by a server that is told to slow; who has good ones never is."""

    # What such a client gets, and whether the proxy hands on when it may come again.
    slowed = 401
    hands_on_retry_after = False

    @classmethod
    def setUpClass(cls):
        cls._own = contextlib.ExitStack()
        cls.server = cls._own.enter_context(live.Countersign(serve=(*TRUSTING, "--gate-failure-limit", "3")))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls._own.close()

    def test_who_guesses_is_slowed_and_nobody_else(self):
        token = self.create()
        wrong = credentials({**token, "client_secret": "csec_" + "0" * 46})
        guesser, other = (Client(self.proxy.port, address) for address in ("127.0.0.21", "127.0.0.22"))
        self.addCleanup(guesser.close)
        self.addCleanup(other.close)
        reached = self.application.reached
        for _ in range(3):
            answer = guesser.request(wrong)
            self.assertEqual((answer.status, answer.reason), (401, "invalid"))
        for _ in range(3):
            answer = guesser.request(wrong)
            self.assertEqual((answer.status, answer.reason), (self.slowed, "throttled"))
            self.assertEqual("Retry-After" in answer.headers, self.hands_on_retry_after)
        self.assertEqual(other.request(wrong).reason, "invalid")
        # What the guesser claims of where it comes from is not believed.
        self.assertEqual(guesser.request([*wrong, ("X-Forwarded-For", "198.51.100.7")]).reason, "throttled")
        self.assertEqual(self.application.reached, reached)
        self.assertEqual(guesser.request(credentials(token)).status, 200)


def run(name, *cases, also=contextlib.nullcontext):
    """Runs the cases against the program of that name, and says with which status to exit; `also` runs beside them."""
    if program(name) is None:
        print(f"{name} is not installed", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, live.end_on_signal)
    application = Application()
    Behind.application = application
    try:
        with live.Countersign(serve=TRUSTING) as server:
            Behind.server = server
            with also():
                return report.run(*cases)
    except live.Misbehaved as problem:
        print(f"live server: {problem}", file=sys.stderr)
        return 1
    finally:
        application.close()
