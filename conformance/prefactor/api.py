"""Prefactor's Python client on the live server, and what its answers must look like."""

import asyncio
import datetime
import re
import unittest
import uuid
from typing import Annotated, Literal

import pfid
import prefactor_http
from prefactor_http.models.base import ApiResponse, ListResponse
from pydantic import AfterValidator, BaseModel, ConfigDict

import wire
from installation import LIVE
from relay import Relay

RELAY = Relay(LIVE.management)
YEAR = datetime.timedelta(days=365)
# A PFID that nothing has: of the account's partition, and long ago.
NOBODY = pfid.generate_with_timestamp(pfid.extract_partition(LIVE.account_pfid), 1234567890000)
ALLOWED = {
    "active": {"activate": False, "delete": False, "revoke": True, "suspend": True},
    "suspended": {"activate": True, "delete": False, "revoke": True, "suspend": False},
    "revoked": {"activate": False, "delete": True, "revoke": False, "suspend": False},
}


def moment(text):
    """A time in the one form that the server prints."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text):
        raise ValueError(f"{text!r} is not a UTC time with seconds")
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def from_now(**offset):
    """So much later than now, on the second."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(**offset)


def check_id(text):
    if not pfid.is_pfid(text):
        raise ValueError(f"{text!r} is not a PFID")
    return text


def check_time(text):
    moment(text)
    return text


Id = Annotated[str, AfterValidator(check_id)]
Time = Annotated[str, AfterValidator(check_time)]


class Exact(BaseModel):
    """Every field is there and has its type, and there is no other."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ApiTokenSummary(Exact):
    type: Literal["api_token"]
    id: Id
    account_id: Id
    token_scope: Literal["account", "environment", "agent_deployment"]
    environment_id: Id | None
    agent_deployment_id: Id | None
    agent_id: Id | None
    created_by_admin_user_id: Id | None
    status: Literal["active", "suspended", "revoked"]
    expires_at: Time
    last_used_at: Time | None
    inserted_at: Time
    updated_at: Time


class AvailableActions(Exact):
    activate: bool
    delete: bool
    revoke: bool
    suspend: bool


class ApiToken(ApiTokenSummary):
    available_actions: AvailableActions


def key():
    """An idempotency key as Prefactor's clients make them."""
    return str(uuid.uuid4())


def leaf(error, *path):
    """The code at one field of a validation error."""
    errors, code = error.errors, None
    for name in path:
        code, errors = errors[name]["code"], errors[name].get("errors", {})
    return code


def tasks(count, work):
    """Runs `work(number)` so often, a few at a time."""
    limit = asyncio.Semaphore(16)

    async def one(number):
        async with limit:
            return await work(number)

    return asyncio.gather(*(one(number) for number in range(count)))


class Case(unittest.IsolatedAsyncioTestCase):
    """API tokens through the SDK, as raw objects that were checked against models."""

    relay = RELAY
    # Where a test goes straight to the server, and what it asks about tokens: those of every node.
    addresses = (LIVE.management,)
    gates = (LIVE.gate,)
    account_token = LIVE.account_token
    account_id = LIVE.account_pfid

    async def asyncSetUp(self):
        # The test case's own loop would complain of every question to the gate that takes long.
        asyncio.get_running_loop().set_debug(False)
        self.relay.lose(0)
        self.sent.clear()
        self.relay.problems.clear()
        self.client = self.connect(self.account_token)

    async def asyncTearDown(self):
        self.assertEqual(self.relay.problems, [])

    def connect(self, token, url=RELAY.url, max_retries=0):
        """A client that does not retry unless it is told to, so that a second try can't hide a first failure."""
        client = prefactor_http.PrefactorHttpClient(prefactor_http.HttpClientConfig(
            api_url=url, api_token=token, max_retries=max_retries, initial_retry_delay=0.01, max_retry_delay=0.05))
        self.addAsyncCleanup(client.close)
        return client

    @property
    def sent(self):
        return self.relay.sent

    async def call(self, method, path, body=None, client=None, **options):
        return await (client or self.client).request(method, f"/api/v1{path}", json_data=body, **options)

    async def create(self, client=None, idempotency_key=None, **details):
        """A new token: its details, and the string that only this answer has."""
        body = {"details": {"token_scope": "account", **details}}
        if idempotency_key:
            body["idempotency_key"] = idempotency_key
        answer = await self.call("POST", "/api_token", body, client)
        self.assertEqual(answer.keys(), {"status", "details", "token"})
        return self.details(answer), answer["token"]

    async def act(self, verb, token_id, client=None, **fields):
        return self.details(await self.call("POST", f"/api_token/{token_id}/{verb}", fields, client))

    async def delete(self, token_id, **fields):
        return self.details(await self.call("DELETE", f"/api_token/{token_id}", fields or None))

    async def show(self, token_id):
        return self.details(await self.call("GET", f"/api_token/{token_id}"))

    async def listed(self, client=None, **params):
        """One page of tokens, as the SDK's own model of a list holds it."""
        answer = await self.call("GET", "/api_token", client=client, params=params)
        return ListResponse[ApiTokenSummary](**answer)

    def details(self, answer):
        token = ApiResponse[ApiToken](**answer).details
        # The answer to a delete shows what was: nothing can be done with it any more.
        if any(token.available_actions.model_dump().values()):
            self.assertEqual(token.available_actions.model_dump(), ALLOWED[token.status])
        return token

    async def make(self, path, **details):
        """Something else than a token; its details."""
        return (await self.call("POST", path, {"details": details}))["details"]

    async def fails(self, kind, status, code, call):
        """The call ends in exactly this class of the SDK, with this status and code."""
        with self.assertRaises(prefactor_http.PrefactorHttpError) as caught:
            await call
        error = caught.exception
        self.assertIs(type(error), kind, error)
        self.assertEqual((error.status_code, error.code), (status, code))
        return error

    async def invalid(self, call, leaf_code, *path):
        error = await self.fails(prefactor_http.PrefactorValidationError, 422, "validation_errors", call)
        self.assertEqual(leaf(error, *path), leaf_code, error.errors)

    async def denied(self, call):
        return await self.fails(prefactor_http.PrefactorAuthError, 403, "not_permitted", call)

    async def absent(self, call):
        return await self.fails(prefactor_http.PrefactorNotFoundError, 404, "not_found", call)

    async def clashes(self, code, call):
        return await self.fails(prefactor_http.PrefactorApiError, 409, code, call)

    def answers(self, token, demand=None):
        """What each gate says to the token: status and reason."""
        headers, demand = [("Authorization", f"Bearer {token}")], demand or f"account_id={self.account_id}"
        answers = [wire.ask(gate, headers, demand) for gate in self.gates]
        return [(answer.status, answer.reason) for answer in answers]

    def gate(self, token, demand=None):
        """What every gate says to the token."""
        first, *others = self.answers(token, demand)
        self.assertEqual(others, [first] * len(others), "the nodes do not agree")
        return first

    async def admitted(self, token, demand=None):
        """At the gate and by the API."""
        self.assertEqual(self.gate(token, demand), (200, None))
        answer = await self.connect(token).validate_token()
        self.assertEqual(answer["details"]["token_type"], "api")

    async def refused(self, token, reason):
        self.assertEqual(self.gate(token), (401, reason))
        await self.fails(prefactor_http.PrefactorAuthError, 401, "bad_authtoken", self.connect(token).validate_token())
