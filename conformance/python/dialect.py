"""What every version of the official Python SDK must be able to do here; each suite adds what only its version has."""

import collections
import concurrent.futures
import datetime
import inspect
import itertools
import json
import re
import unittest

import cloudflare
import httpx

import wire
from installation import LIVE

SECRET = re.compile(r"csec_[0-9A-Za-z]{46}")
YEAR = datetime.timedelta(hours=8760)
NOBODY = "00000000-0000-4000-8000-000000000000"
UNKNOWN_TOKEN = "csat_" + "0" * 46
CROWD = 2500

Sent = collections.namedtuple("Sent", "method path query headers status answer")


def moment(text):
    """A time in the one form that the server prints."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text):
        raise AssertionError(f"{text!r} is not a UTC time with seconds")
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def from_now(**offset):
    """So much later than now, on the second."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(**offset)


def zulu(time):
    return time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_envelope(response, answer):
    """Holds for every answer of the dialect, so it is checked on every answer."""
    if not response.headers.get("content-type", "").startswith("application/json"):
        raise AssertionError(f"content-type is {response.headers.get('content-type')!r}")
    if "x-request-id" not in response.headers:
        raise AssertionError("x-request-id is missing")
    if not {"success", "errors", "messages", "result"} <= answer.keys():
        raise AssertionError(f"the envelope has only {sorted(answer)}")
    if answer["success"] != response.is_success or (answer["errors"] == []) != response.is_success:
        raise AssertionError(f"status {response.status_code} with {answer}")
    if not response.is_success and answer["result"] is not None:
        raise AssertionError("a failure with a result")


class Recorder(httpx.BaseTransport):
    """A real transport that notes what was asked and what came back."""

    def __init__(self):
        self._inner = httpx.HTTPTransport(limits=httpx.Limits(max_connections=64, max_keepalive_connections=64))
        self.sent = []

    def handle_request(self, request):
        response = self._inner.handle_request(request)
        response.read()
        answer = json.loads(response.content)
        self.sent.append(Sent(request.method, request.url.path, dict(request.url.params), request.headers,
                              response.status_code, answer))
        check_envelope(response, answer)
        return response

    def close(self):
        self._inner.close()


def connect(**options):
    """A client that never retries, so that a second try can't hide a first failure, and the list of what it sends."""
    recorder = Recorder()
    settings = {"base_url": f"{LIVE.management}/client/v4", "max_retries": 0, "timeout": 30.0, **options}
    client = cloudflare.Cloudflare(http_client=httpx.Client(transport=recorder), **settings)
    return client, recorder.sent


def ask(pair, demand=None):
    """What the gate says to a pair: status, reason and headers, as a proxy would see them."""
    answer = wire.ask(LIVE.gate, wire.credentials(pair), demand or f"account_id={LIVE.account_id}")
    return answer.status, answer.reason, answer.headers


def with_secret(pair, secret):
    return {"client_id": pair["client_id"], "client_secret": secret}


class Case(unittest.TestCase):
    """Service tokens through the SDK, as raw objects that were checked against the SDK's models."""

    scope = None
    path = None
    token = LIVE.api_token

    def setUp(self):
        self.client, self.sent = connect(api_token=self.token)
        self.tokens = self.client.zero_trust.access.service_tokens

    def tearDown(self):
        self.client.close()

    def call(self, method, *arguments, **fields):
        """Calls the SDK; fields that this version does not know go into the body beside those that it does."""
        known = inspect.signature(method).parameters
        extra = {name: zulu(value) if isinstance(value, datetime.datetime) else value
                 for name, value in fields.items() if name not in known}
        native = {name: value for name, value in fields.items() if name in known}
        model = method(*arguments, **native, **({"extra_body": extra} if extra else {}))
        raw = self.sent[-1].answer["result"]
        self.same(model, raw)
        return raw

    def same(self, model, raw):
        """The SDK's model says what the wire said."""
        for name, value in raw.items():
            decoded = getattr(model, name)
            if isinstance(decoded, datetime.datetime):
                decoded = zulu(decoded)
            self.assertEqual(decoded, value, name)

    def create(self, **fields):
        created = self.call(self.tokens.create, **{"name": self._testMethodName, **self.scope, **fields})
        self.assertRegex(created["client_secret"], SECRET)
        return created

    def get(self, token_id):
        return self.call(self.tokens.get, token_id, **self.scope)

    def update(self, token_id, **fields):
        return self.call(self.tokens.update, token_id, **self.scope, **fields)

    def delete(self, token_id):
        return self.call(self.tokens.delete, token_id, **self.scope)

    def listed(self, **query):
        self.tokens.list(**self.scope, **query)
        return self.sent[-1].answer["result"]

    def refresh(self, token_id):
        """The SDK refreshes on accounts only; on a zone the route is asked for by path."""
        if "account_id" in self.scope:
            return self.call(self.tokens.refresh, token_id, **self.scope)
        self.client.post(f"{self.path}/{token_id}/refresh", cast_to=object)
        return self.sent[-1].answer["result"]

    def rotate(self, token_id, **fields):
        if "account_id" in self.scope:
            return self.call(self.tokens.rotate, token_id, **self.scope, **fields)
        body = {name: zulu(value) for name, value in fields.items()}
        self.client.post(f"{self.path}/{token_id}/rotate", cast_to=object, body=body or None)
        return self.sent[-1].answer["result"]

    def admitted(self, pair):
        self.assertEqual(ask(pair)[:2], (200, None))

    def refused(self, pair, reason):
        status, said, headers = ask(pair)
        self.assertEqual((status, said), (401, reason))
        self.assertIn("WWW-Authenticate", headers)

    def fails(self, kind, status, code, call, *arguments, **fields):
        """The call ends in exactly this class of the SDK, with this status and code."""
        with self.assertRaises(cloudflare.APIStatusError) as caught:
            call(*arguments, **fields)
        error = caught.exception
        self.assertIs(type(error), kind, error)
        self.assertEqual((error.status_code, error.body["errors"][0]["code"]), (status, code))
        return error.body["errors"]


class Account:
    scope = {"account_id": LIVE.account_id}
    elsewhere = {"account_id": LIVE.other.account_id}
    path = f"/accounts/{LIVE.account_id}/access/service_tokens"


class Zone:
    scope = {"zone_id": LIVE.zone_id}
    elsewhere = {"zone_id": LIVE.other.zone_id}
    path = f"/zones/{LIVE.zone_id}/access/service_tokens"


class Lifecycle:
    """Every operation, with its effect at the gate."""

    def test_create(self):
        created = self.create(name="CI/CD token")
        self.assertEqual(self.sent[-1].status, 201)
        self.assertEqual(self.sent[-1].answer["messages"], [])
        self.assertRegex(created["client_id"], r"^[0-9a-f]{32}\.access$")
        self.assertEqual((created["name"], created["duration"], created["enabled"]), ("CI/CD token", "8760h", True))
        self.assertEqual(created["client_secret_version"], 1)
        self.assertEqual(moment(created["expires_at"]) - moment(created["created_at"]), YEAR)
        self.assertNotIn("previous_client_secret_expires_at", created)
        self.assertNotIn("last_seen_at", created)
        self.admitted(created)

    def test_create_with_everything(self):
        created = self.create(duration="17520h", enabled=False, client_secret_version=2,
                              previous_client_secret_expires_at=moment("2025-12-31T23:59:59Z"))
        self.assertEqual((created["duration"], created["enabled"], created["client_secret_version"]), ("17520h", False, 2))
        self.assertEqual(created["previous_client_secret_expires_at"], "2025-12-31T23:59:59Z")
        self.refused(created, "disabled")

    def test_forever(self):
        created = self.create(duration="forever")
        self.assertEqual(created["duration"], "forever")
        self.assertEqual(moment(created["expires_at"]) - moment(created["created_at"]), datetime.timedelta(hours=876_000))
        self.assertEqual(self.refresh(created["id"])["expires_at"], created["expires_at"])
        self.admitted(created)

    def test_get_and_list_show_all_but_the_secret(self):
        created = self.create()
        secret = created.pop("client_secret")
        self.assertEqual(self.get(created["id"]), created)
        listed = self.listed()
        self.assertIn(created, listed)
        said = json.dumps([sent.answer for sent in self.sent[1:]])
        self.assertNotIn("client_secret\"", said)
        self.assertNotIn(secret, said)
        self.assertNotIn("csec_", said)

    def test_name_and_search(self):
        name = f"Deploy KEY {type(self).__name__}"
        created = self.create(name=name)
        ids = lambda **query: [token["id"] for token in self.listed(**query)]
        self.assertEqual(ids(name=name), [created["id"]])
        self.assertEqual(ids(name=name.lower()), [])
        self.assertEqual(ids(search=name.lower()), [created["id"]])
        self.assertEqual(ids(search=created["client_id"][2:20].upper()), [created["id"]])
        self.assertEqual(ids(search="no token is called so"), [])

    def test_update_merges(self):
        created = self.create(duration="24h")
        secret = created.pop("client_secret")
        renamed = self.update(created["id"], name="renamed")
        self.assertEqual({**renamed, "updated_at": created["updated_at"]}, {**created, "name": "renamed"})
        self.assertEqual(self.update(created["id"]), renamed)
        longer = self.update(created["id"], duration="48h")
        self.assertEqual((longer["name"], longer["duration"]), ("renamed", "48h"))
        self.assertEqual(moment(longer["expires_at"]) - moment(longer["updated_at"]), datetime.timedelta(hours=48))
        self.assertEqual(self.update(created["id"], duration="48h")["expires_at"], longer["expires_at"])
        self.admitted(with_secret(created, secret))

    def test_a_higher_version_rotates_once(self):
        created = self.create()
        rotated = self.update(created["id"], client_secret_version=2)
        self.assertRegex(rotated["client_secret"], SECRET)
        self.assertNotEqual(rotated["client_secret"], created["client_secret"])
        self.assertEqual((rotated["client_secret_version"], rotated["client_id"]), (2, created["client_id"]))
        self.refused(created, "invalid")
        self.admitted(rotated)
        again = self.update(created["id"], client_secret_version=2)
        self.assertNotIn("client_secret", again)
        self.admitted(rotated)

    def test_grace_by_version(self):
        created = self.create()
        until = from_now(hours=1)
        elsewhere = until.astimezone(datetime.timezone(datetime.timedelta(hours=-7, minutes=-30)))
        rotated = self.update(created["id"], client_secret_version=2, previous_client_secret_expires_at=elsewhere)
        self.assertEqual(rotated["previous_client_secret_expires_at"], zulu(until))
        self.admitted(created)
        self.admitted(rotated)
        self.update(created["id"], previous_client_secret_expires_at=from_now(hours=-1))
        self.refused(created, "invalid")
        self.update(created["id"], previous_client_secret_expires_at=until)
        self.refused(created, "invalid")
        self.admitted(rotated)

    def test_disable_and_enable(self):
        created = self.create()
        self.assertFalse(self.update(created["id"], enabled=False)["enabled"])
        self.refused(created, "disabled")
        self.assertTrue(self.update(created["id"], enabled=True)["enabled"])
        self.admitted(created)

    def test_rotate(self):
        created = self.create()
        rotated = self.rotate(created["id"])
        self.assertRegex(rotated["client_secret"], SECRET)
        self.assertEqual((rotated["client_secret_version"], rotated["client_id"]), (2, created["client_id"]))
        self.refused(created, "invalid")
        self.admitted(rotated)

    def test_rotate_with_grace(self):
        first = self.create()
        second = self.rotate(first["id"], previous_client_secret_expires_at=from_now(days=1))
        self.admitted(first)
        self.admitted(second)
        third = self.rotate(first["id"], previous_client_secret_expires_at=from_now(days=1))
        self.refused(first, "invalid")
        self.admitted(second)
        self.admitted(third)

    def test_refresh(self):
        created = self.create(duration="24h")
        refreshed = self.refresh(created["id"])
        self.assertEqual(moment(refreshed["expires_at"]) - moment(refreshed["updated_at"]), YEAR)
        self.assertEqual(refreshed["duration"], "24h")
        self.assertNotIn("client_secret", refreshed)
        self.admitted(created)

    def test_delete(self):
        created = self.create()
        deleted = self.delete(created["id"])
        self.assertEqual(deleted["id"], created["id"])
        self.assertNotIn("client_secret", deleted)
        self.refused(created, "invalid")
        for call in (self.tokens.get, self.tokens.delete, self.tokens.update):
            self.fails(cloudflare.NotFoundError, 404, 12135, call, created["id"], **self.scope)

    def test_the_gate_names_the_token(self):
        created = self.create(name="nämed 100%")
        status, _, headers = ask(created, f"zone_id={LIVE.zone_id}")
        self.assertEqual(status, 200)
        self.assertEqual(headers["Countersign-Kind"], "service_token")
        self.assertEqual(headers["Countersign-Token-Id"], created["id"])
        self.assertEqual(headers["Countersign-Client-Id"], created["client_id"])
        self.assertEqual(headers["Countersign-Account-Id"], LIVE.account_id)
        self.assertEqual(headers["Countersign-Zone-Id"], self.scope.get("zone_id"))
        self.assertEqual(headers["Countersign-Token-Name"], "n%C3%A4med%20100%25")


class Refusal:
    """What goes wrong, as the SDK's error classes show it."""

    def test_not_found(self):
        for token_id in (NOBODY, "not-a-uuid"):
            for call in (self.tokens.get, self.tokens.update, self.tokens.delete):
                errors = self.fails(cloudflare.NotFoundError, 404, 12135, call, token_id, **self.scope)
                self.assertEqual(errors[0]["message"], "access.api.error.not_found")
            for operation in ("refresh", "rotate"):
                self.fails(cloudflare.NotFoundError, 404, 12135, self.client.post,
                           f"{self.path}/{token_id}/{operation}", cast_to=object)

    def test_bad_request(self):
        bad = (({"name": ""}, "/name"), ({"name": "x" * 351}, "/name"), ({"name": "x", "duration": "1d"}, "/duration"),
               ({"name": "x", "extra_body": {"enabled": "yes"}}, "/enabled"),
               ({"name": "x", "extra_body": {"client_secret_version": 1.5}}, "/client_secret_version"),
               ({"name": "x", "extra_body": {"previous_client_secret_expires_at": "tomorrow"}},
                "/previous_client_secret_expires_at"))
        for fields, pointer in bad:
            with self.subTest(pointer=pointer):
                errors = self.fails(cloudflare.BadRequestError, 400, 12130, self.tokens.create, **self.scope, **fields)
                self.assertRegex(errors[0]["message"], r"^access\.api\.error\.invalid_request: .")
                self.assertEqual(errors[0]["source"]["pointer"], pointer)
        created = self.create()
        for fields in ({"duration": "soon"}, {"name": ""}):
            self.fails(cloudflare.BadRequestError, 400, 12130, self.tokens.update, created["id"], **self.scope, **fields)
        created.pop("client_secret")
        self.assertEqual(self.get(created["id"]), created)

    def test_a_read_only_token_only_reads(self):
        created = self.create()
        client, sent = connect(api_token=LIVE.read_token)
        reader = client.zero_trust.access.service_tokens
        self.assertEqual(reader.get(created["id"], **self.scope).id, created["id"])
        self.assertTrue(reader.list(**self.scope).result)
        denied = (cloudflare.PermissionDeniedError, 403, 10000)
        errors = self.fails(*denied, reader.create, name="x", **self.scope)
        self.assertEqual(errors[0]["message"], "Authentication error")
        self.fails(*denied, reader.update, created["id"], name="x", **self.scope)
        self.fails(*denied, reader.delete, created["id"], **self.scope)
        for operation in ("refresh", "rotate"):
            self.fails(*denied, client.post, f"{self.path}/{created['id']}/{operation}", cast_to=object)
        self.assertEqual(len(sent), 7)
        self.admitted(created)

    def test_another_accounts_token_gets_nowhere(self):
        created = self.create()
        foreign = connect(api_token=LIVE.other.api_token)[0].zero_trust.access.service_tokens
        denied = (cloudflare.PermissionDeniedError, 403, 10000)
        self.fails(*denied, foreign.list, **self.scope)
        self.fails(*denied, foreign.create, name="x", **self.scope)
        for call in (foreign.get, foreign.update, foreign.delete):
            self.fails(*denied, call, created["id"], **self.scope)
        self.fails(cloudflare.NotFoundError, 404, 12135, foreign.get, created["id"], **self.elsewhere)
        self.admitted(created)


class Caller:
    """Both ways to say who one is."""

    def use_all(self, sent_headers, **options):
        self.client, self.sent = connect(**options)
        self.tokens = self.client.zero_trust.access.service_tokens
        created = self.create()
        self.get(created["id"])
        self.assertTrue(self.listed())
        self.update(created["id"], name="renamed")
        self.refresh(created["id"])
        self.admitted(self.rotate(created["id"]))
        self.delete(created["id"])
        for request in self.sent:
            sent = {name for name in ("authorization", "x-auth-email", "x-auth-key") if name in request.headers}
            self.assertEqual(sent, sent_headers)

    def test_api_token(self):
        self.use_all({"authorization"}, api_token=LIVE.api_token)

    def test_api_token_of_the_other_dialect(self):
        self.use_all({"authorization"}, api_token=LIVE.account_token)

    def test_email_and_global_key(self):
        self.use_all({"x-auth-email", "x-auth-key"}, api_email=LIVE.email, api_key=LIVE.api_key)

    def test_empty_api_token_beside_email_and_key(self):
        self.use_all({"x-auth-email", "x-auth-key"}, api_token="", api_email=LIVE.email, api_key=LIVE.api_key)

    def test_empty_bearer_beside_email_and_key(self):
        # httpx refuses to send the space after the word, and HTTP drops it on the way anyway.
        self.use_all({"authorization", "x-auth-email", "x-auth-key"}, api_email=LIVE.email, api_key=LIVE.api_key,
                     default_headers={"Authorization": "Bearer"})

    def test_bare_origin(self):
        self.use_all({"authorization"}, api_token=LIVE.api_token, base_url=LIVE.management)
        self.assertTrue(all(not request.path.startswith("/client/v4") for request in self.sent))

    def test_refused_callers(self):
        def call(**options):
            return connect(**options)[0].zero_trust.access.service_tokens.list

        known = {"api_email": LIVE.email, "api_key": LIVE.api_key}
        stranger = self.fails(cloudflare.AuthenticationError, 401, 10000, call(api_token=UNKNOWN_TOKEN), **self.scope)
        self.assertEqual(stranger[0]["message"], "Authentication error")
        self.fails(cloudflare.AuthenticationError, 401, 10000,
                   call(**known, default_headers={"Authorization": f"Bearer {UNKNOWN_TOKEN}"}), **self.scope)
        malformed = self.fails(cloudflare.BadRequestError, 400, 6003, call(api_token="abc-def"), **self.scope)
        self.assertEqual(malformed[0]["error_chain"][0]["code"], 6111)
        self.fails(cloudflare.BadRequestError, 400, 9106, call(api_email=LIVE.email), **self.scope)
        self.fails(cloudflare.PermissionDeniedError, 403, 9103,
                   call(api_email=LIVE.email, api_key="0" * 37), **self.scope)
        # With an e-mail this SDK keeps the API token to itself.
        self.fails(cloudflare.BadRequestError, 400, 9106, call(api_email=LIVE.email, api_token=LIVE.api_token), **self.scope)

    def test_verify(self):
        verified = self.client.user.tokens.verify()
        self.assertEqual(verified.status, "active")
        self.assertEqual(self.sent[-1].answer["messages"],
                         [{"code": 10000, "message": "This API Token is valid and active", "type": None}])
        reader, _ = connect(api_token=LIVE.read_token)
        self.assertEqual(reader.accounts.tokens.verify(account_id=LIVE.account_id).status, "active")
        self.fails(cloudflare.AuthenticationError, 401, 1000, reader.user.tokens.verify)

    def test_ids_can_be_found(self):
        reader, _ = connect(api_token=LIVE.read_token)
        self.assertEqual([account.id for account in reader.accounts.list()], [LIVE.account_id])
        self.assertEqual(reader.accounts.get(account_id=LIVE.account_id).id, LIVE.account_id)
        self.assertEqual([zone.id for zone in reader.zones.list()], [LIVE.zone_id])
        self.assertEqual(reader.zones.get(zone_id=LIVE.zone_id).account.id, LIVE.account_id)
        self.client.user.get()
        self.assertEqual(self.sent[-1].answer["result"], {"id": LIVE.user_id, "email": LIVE.email})


class AccountLifecycle(Account, Lifecycle, Case):
    pass


class ZoneLifecycle(Zone, Lifecycle, Case):
    pass


class AccountRefusal(Account, Refusal, Case):
    pass


class ZoneRefusal(Zone, Refusal, Case):
    pass


class AccountCaller(Account, Caller, Case):
    pass


class ZoneCaller(Zone, Caller, Case):
    pass


# What every version runs.
CASES = (AccountLifecycle, ZoneLifecycle, AccountRefusal, ZoneRefusal, AccountCaller, ZoneCaller)


class Crowd(Case):
    """Paging over thousands, with every request counted."""

    scope = {"account_id": LIVE.crowd.account_id}
    token = LIVE.crowd.api_token
    made = set()

    @classmethod
    def setUpClass(cls):
        client, _ = connect(api_token=cls.token)
        tokens = client.zero_trust.access.service_tokens
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            made = pool.map(lambda number: tokens.create(name=f"crowd {number}", **cls.scope).id, range(CROWD))
            cls.made = set(made)
        client.close()

    def walk(self, **query):
        """The whole list as the SDK pages it, or far more than there is, should it not end."""
        return list(itertools.islice(self.tokens.list(**self.scope, **query), 2 * CROWD))

    def check_all(self, listed):
        self.assertEqual(len(listed), len(self.made))
        self.assertEqual({token.id for token in listed}, self.made)
        created = [token.created_at for token in listed]
        self.assertEqual(created, sorted(created))

    def asked(self):
        """The pages that were asked for, in order; None where no page was named."""
        return [request.query.get("page") for request in self.sent]
