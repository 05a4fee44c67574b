"""What goes wrong, as the SDK's error classes show it; that no answer tells a token is checked on each."""

import base64
import hashlib
import hmac
import json
import urllib.parse

import prefactor_core
import prefactor_http

import wire
from api import NOBODY, RELAY, Case, from_now
from installation import LIVE


def encode(value):
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def changed(text):
    """The same text with another last character, of which every bit counts."""
    return text[:-1] + ("A" if text[-1] != "A" else "Q")


def forgeries(token):
    """Strings that look more or less like this token, and are not."""
    header, claims, signature = token.split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=="))
    yield "garbage"
    yield header
    yield f"{header}.{claims}"
    yield f"{header}.{claims}."
    yield f"{token}."
    yield f"{token}A"
    yield f"{token}="
    yield token.lower()
    yield changed(token)
    yield f"{header}.{changed(claims)}.{signature}"
    yield f"{header}.{encode({**decoded, 'exp': decoded['exp'] + 1})}.{signature}"
    for other in ("none", "None", "HS384", "RS256"):
        unsigned = f"{encode({'alg': other, 'typ': 'JWT'})}.{claims}"
        yield f"{unsigned}."
        yield f"{unsigned}.{signature}"
    for key in (b"", b"secret", b"\0" * 32, LIVE.api_key.encode()):
        yield f"{header}.{claims}." + encode(hmac.digest(key, f"{header}.{claims}".encode(), hashlib.sha256))
    yield LIVE.api_key


class Authentication(Case):
    async def test_forgeries(self):
        _, token = await self.create()
        messages = set()
        for forged in forgeries(token):
            with self.subTest(forged=forged):
                error = await self.fails(prefactor_http.PrefactorAuthError, 401, "bad_authtoken",
                                         self.connect(forged).validate_token())
                messages.add(str(error))
                self.assertEqual(self.gate(forged)[0], 401)
        self.assertEqual(len(messages), 1, "what is wrong with a token is told apart")
        await self.admitted(token)

    def raw(self, *headers, method="GET", path="/ping", body=None, port=RELAY.server_port):
        """A request that the SDK would not send; status and code."""
        client = wire.Client(port)
        self.addCleanup(client.close)
        answer = client.request(headers, method, f"/api/v1{path}", body)
        return answer.status, json.loads(answer.body).get("code")

    async def test_headers(self):
        nobody = (401, "not_authenticated")
        self.assertEqual(self.raw(), nobody)
        for value in ("Basic dXNlcjpwYXNz", "Bearer", "Bearer ", self.account_token, f"Bearer {self.account_token} x",
                      f"Token {self.account_token}"):
            with self.subTest(value=value.replace(self.account_token, "…")):
                self.assertEqual(self.raw(("Authorization", value)), nobody)
        for scheme in ("Bearer", "bearer", "BEARER"):
            self.assertEqual(self.raw(("Authorization", f"{scheme} {self.account_token}")), (200, None))

    async def test_bodies(self):
        bearer = ("Authorization", f"Bearer {self.account_token}")
        bad = (400, "bad_request")
        for body in (b"{", b"[]", b'"details"', b"5", b"{}{}", b"\xff"):
            with self.subTest(body=body):
                self.assertEqual(self.raw(bearer, method="POST", path="/api_token", body=body), bad)
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            typed = ("Content-Type", kind)
            self.assertEqual(self.raw(bearer, typed), (200, None))
            scoped = b'{"details":{"token_scope":"account"}}'
            self.assertEqual(self.raw(bearer, typed, method="POST", path="/api_token", body=scoped), (200, None))

    async def test_a_body_that_is_too_long(self):
        # It is read all the same, as most clients look for an answer only after they have sent everything.
        bearer = ("Authorization", f"Bearer {self.account_token}")
        port = urllib.parse.urlsplit(LIVE.management).port
        answer = self.raw(bearer, method="POST", path="/api_token", body=b" " * ((1 << 20) + 1), port=port)
        self.assertEqual(answer, (413, "bad_request"))

    async def test_what_a_scoped_token_may(self):
        agent = await self.make("/agent", name="scoped")
        created, _ = await self.create()
        deployed = {"token_scope": "agent_deployment", "agent_id": agent["id"]}
        for scope in ({"token_scope": "environment"}, deployed):
            itself, token = await self.create(**scope, environment_id=LIVE.environment_id)
            client = self.connect(token)
            await client.validate_token()
            self.assertEqual(len((await self.call("POST", "/pfid/generate", {"count": 2}, client))["pfids"]), 2)
            calls = [self.create(client), self.listed(client), self.act("suspend", created.id, client),
                     self.act("revoke", itself.id, client)]
            for method, path in (("GET", f"/api_token/{created.id}"), ("DELETE", f"/api_token/{created.id}"),
                                 ("GET", "/account"), ("GET", f"/account/{LIVE.account_pfid}"), ("GET", "/environment"),
                                 ("DELETE", f"/environment/{LIVE.environment_id}"), ("GET", "/agent"), ("GET", "/admin_user"),
                                 ("GET", "/admin_user_invite"), ("GET", "/agent_deployment")):
                calls.append(self.call(method, path, client=client))
            for call in calls:
                await self.denied(call)
        self.assertEqual((await self.show(created.id)).status, "active")


class Validation(Case):
    async def test_creates(self):
        agent = await self.make("/agent", name="of the wrong kind")
        environment = {"token_scope": "environment"}
        deployment = {"token_scope": "agent_deployment"}
        here = {"environment_id": LIVE.environment_id}
        before = (await self.listed()).pagination.item_count
        for details, code, field in (
                ({"token_scope": None}, "required_value", "token_scope"),
                ({"token_scope": "galaxy"}, "invalid_value", "token_scope"),
                ({"token_scope": 5}, "invalid_value", "token_scope"),
                (environment, "required_value", "environment_id"),
                ({**deployment, **here}, "required_value", "agent_id"),
                ({**deployment, "agent_id": agent["id"]}, "required_value", "environment_id"),
                (here, "invalid_value", "environment_id"),
                ({"agent_id": agent["id"]}, "invalid_value", "agent_id"),
                ({**environment, **here, "agent_id": agent["id"]}, "invalid_value", "agent_id"),
                ({**environment, "environment_id": "not-a-pfid"}, "invalid_value", "environment_id"),
                ({**environment, "environment_id": {}}, "invalid_value", "environment_id"),
                ({**environment, "environment_id": LIVE.environment_id.upper()}, "invalid_value", "environment_id"),
                ({**environment, "environment_id": agent["id"]}, "unexpected_ref_type", "environment_id"),
                ({**deployment, **here, "agent_id": LIVE.environment_id}, "unexpected_ref_type", "agent_id"),
                ({"expires_at": from_now(seconds=-1).isoformat()}, "invalid_value", "expires_at"),
                ({"expires_at": "tomorrow"}, "invalid_value", "expires_at"),
                ({"expires_at": "2099-01-01"}, "invalid_value", "expires_at"),
                ({"expires_at": 4070908800}, "invalid_value", "expires_at"),
                ({"account_id": "not-a-pfid"}, "invalid_value", "account_id"),
                ({"account_id": agent["id"]}, "unexpected_ref_type", "account_id")):
            with self.subTest(details=details):
                await self.invalid(self.create(**details), code, "details", field)
        self.assertEqual((await self.listed()).pagination.item_count, before)

    async def test_all_wrong_fields_are_named_at_once(self):
        error = await self.fails(prefactor_http.PrefactorValidationError, 422, "validation_errors",
                                 self.create(token_scope="environment", expires_at="tomorrow"))
        self.assertEqual(error.errors["details"]["errors"].keys(), {"environment_id", "expires_at"})

    async def test_bodies_without_details(self):
        for body in (None, {}, {"token_scope": "account"}, {"details": None}):
            with self.subTest(body=body):
                await self.invalid(self.call("POST", "/api_token", body), "required_value", "details")
        for details in ("account", [], 5):
            with self.subTest(details=details):
                await self.invalid(self.call("POST", "/api_token", {"details": details}), "invalid_value", "details")
        await self.invalid(self.call("POST", "/api_token", {"details": {}}), "required_value", "details", "token_scope")

    async def test_references_that_lead_nowhere(self):
        foreign = self.connect(LIVE.other.account_token)
        theirs = (await self.call("GET", "/environment", client=foreign))["summaries"][0]["id"]
        for environment in (NOBODY, theirs):
            await self.absent(self.create(token_scope="environment", environment_id=environment))
        await self.denied(self.create(account_id=LIVE.other.account_pfid))
        await self.denied(self.listed(account_id=NOBODY))
        await self.invalid(self.listed(account_id="not-a-pfid"), "invalid_value", "account_id")

    async def test_what_is_ignored(self):
        created, _ = await self.create(account_id=None, environment_id=None, agent_id=None, expires_at=None, name="x")
        self.assertEqual(created.account_id, LIVE.account_pfid)
        listed = await self.listed(unknown="x", **{"pagination[unknown]": "x"})
        self.assertEqual(listed.pagination.page_offset, 0)


class Absence(Case):
    async def test_tokens(self):
        created, _ = await self.create()
        theirs, _ = await self.create(self.connect(LIVE.other.account_token))
        for token_id in (NOBODY, "not-a-pfid", created.id.upper(), theirs.id, LIVE.environment_id, LIVE.account_pfid):
            with self.subTest(token_id=token_id):
                await self.absent(self.show(token_id))
                await self.absent(self.delete(token_id))
                for verb in ("suspend", "activate", "revoke"):
                    await self.absent(self.act(verb, token_id))

    async def test_paths(self):
        created, _ = await self.create()
        for method, path in (("GET", "/nope"), ("POST", f"/api_token/{created.id}/rotate"), ("GET", "/"),
                             ("GET", "/agent_instance"), ("GET", "/agent_spans"), ("GET", "/api_token/")):
            with self.subTest(path=path):
                await self.absent(self.call(method, path))
        for method, path in (("PUT", f"/api_token/{created.id}"), ("PATCH", f"/api_token/{created.id}"),
                             ("GET", f"/api_token/{created.id}/suspend"), ("DELETE", "/api_token"), ("POST", "/ping")):
            with self.subTest(method=method, path=path):
                await self.fails(prefactor_http.PrefactorApiError, 405, "bad_request", self.call(method, path))

    async def test_telemetry_is_not_served(self):
        await self.absent(self.client.agent_instances.register(agent_version={}, agent_schema_version={}))
        await self.absent(self.client.agent_spans.create(agent_instance_id=NOBODY, schema_name="agent:llm", status="active"))

    async def test_a_program_that_is_watched_learns_at_its_start_whether_its_token_is_good(self):
        def watch(token):
            config = prefactor_core.PrefactorCoreConfig(
                http_config=prefactor_http.HttpClientConfig(api_url=self.relay.url, api_token=token))
            return prefactor_core.PrefactorCoreClient(config)

        created, token = await self.create(token_scope="environment", environment_id=LIVE.environment_id)
        async with watch(token) as watched:
            await self.absent(watched.create_agent_instance(
                agent_id=NOBODY, agent_version={"name": "x", "external_identifier": "1"},
                agent_schema_version={"external_identifier": "1", "span_schemas": {}}))
        await self.act("suspend", created.id)
        await self.fails(prefactor_http.PrefactorAuthError, 401, "bad_authtoken", watch(token).initialize())

    async def test_a_client_that_would_retry_has_nothing_to_retry(self):
        stubborn = self.connect(self.account_token, max_retries=3)
        await self.absent(self.call("GET", f"/api_token/{NOBODY}", client=stubborn))
        await self.denied(self.listed(stubborn, account_id=LIVE.other.account_pfid))
        await self.invalid(self.create(stubborn, token_scope="galaxy"), "invalid_value", "details", "token_scope")
        await self.fails(prefactor_http.PrefactorApiError, 405, "bad_request", self.call("PUT", "/ping", {}, stubborn))
        self.assertEqual(len(self.sent), 4)


CASES = (Authentication, Validation, Absence)
