"""Many at once, over connections of their own: what may be won only once, and what must be true for everybody at once."""

import asyncio
import itertools
import time
import urllib.parse

import prefactor_http

import live
import wire
from api import Case, key
from installation import LIVE
from load import Change, Load

ACTIVE = (200, None)
SUSPENDED = (401, "disabled")


async def outcome(call):
    """The details that a call ended in, or the status and code of its refusal."""
    try:
        return (await call)["details"]
    except prefactor_http.PrefactorApiError as error:
        return error.status_code, error.code


class Race(Case):
    """Straight to the server, so that nothing on the way puts the calls in a row."""

    rounds = 30

    async def crowd(self, count):
        """So many clients, each with its connection open already."""
        places = itertools.cycle(self.addresses)
        clients = [self.connect(self.account_token, place) for place in itertools.islice(places, count)]
        await asyncio.gather(*(client.validate_token() for client in clients))
        return clients

    async def at_once(self, clients, method, path, *bodies):
        calls = [self.call(method, path, bodies[number % len(bodies)], client) for number, client in enumerate(clients)]
        return await asyncio.gather(*(outcome(call) for call in calls))

    async def test_two_suspends(self):
        pair = await self.crowd(2)
        created, token = await self.create()
        for _ in range(self.rounds):
            ended = await self.at_once(pair, "POST", f"/api_token/{created.id}/suspend", {})
            won = [one for one in ended if isinstance(one, dict)]
            self.assertEqual(len(won), 1)
            self.assertIn((409, "invalid_action"), ended)
            self.assertEqual(self.gate(token), SUSPENDED)
            self.assertEqual((await self.show(created.id)).updated_at, won[0]["updated_at"])
            await self.act("activate", created.id)

    async def test_activate_and_revoke(self):
        pair = await self.crowd(2)
        for _ in range(self.rounds):
            created, token = await self.create()
            await self.act("suspend", created.id)
            path = f"/api_token/{created.id}"
            activated, revoked = await asyncio.gather(outcome(self.call("POST", f"{path}/activate", {}, pair[0])),
                                                      outcome(self.call("POST", f"{path}/revoke", {}, pair[1])))
            self.assertEqual(revoked["status"], "revoked")
            self.assertTrue(activated == (409, "invalid_action") or activated["status"] == "active")
            self.assertEqual((await self.show(created.id)).status, "revoked")
            self.assertEqual(self.gate(token), (401, "revoked"))

    async def test_twenty_creates_with_one_key(self):
        clients = await self.crowd(20)
        for _ in range(self.rounds // 3):
            before = (await self.listed()).pagination.item_count
            body = {"details": {"token_scope": "account"}, "idempotency_key": key()}
            answers = await asyncio.gather(*(self.call("POST", "/api_token", body, client) for client in clients))
            self.assertEqual(answers, answers[:1] * 20)
            self.assertEqual((await self.listed()).pagination.item_count, before + 1)
            await self.admitted(answers[0]["token"])

    async def test_one_key_for_twenty_intents(self):
        clients = await self.crowd(20)
        for _ in range(5):
            before = (await self.listed()).pagination.item_count
            used = key()
            bodies = [{"details": {"token_scope": "account", "expires_at": f"2099-01-{day:02}T00:00:00Z"},
                       "idempotency_key": used} for day in range(1, 21)]
            ended = await self.at_once(clients, "POST", "/api_token", *bodies)
            self.assertEqual(len([one for one in ended if isinstance(one, dict)]), 1)
            self.assertEqual(ended.count((409, "idempotency_key_already_used")), 19)
            self.assertEqual((await self.listed()).pagination.item_count, before + 1)

    async def test_deletes_with_one_key_and_without(self):
        clients = await self.crowd(10)
        created, _ = await self.create()
        await self.act("revoke", created.id)
        ended = await self.at_once(clients, "DELETE", f"/api_token/{created.id}", {"idempotency_key": key()})
        self.assertEqual(ended, ended[:1] * 10)
        created, _ = await self.create()
        await self.act("revoke", created.id)
        ended = await self.at_once(clients, "DELETE", f"/api_token/{created.id}", {})
        self.assertEqual(len([one for one in ended if isinstance(one, dict)]), 1)
        self.assertEqual(ended.count((404, "not_found")), 9)

    async def test_first_deployments(self):
        clients = await self.crowd(10)
        for number in range(5):
            agent = await self.make("/agent", name=f"raced {number}")
            body = {"details": {"token_scope": "agent_deployment", "agent_id": agent["id"],
                                "environment_id": LIVE.environment_id}}
            made = await self.at_once(clients, "POST", "/api_token", body)
            self.assertEqual(len({one["id"] for one in made}), 10)
            self.assertEqual(len({one["agent_deployment_id"] for one in made}), 1)


class UnderLoad(Case):
    """Clients keep asking the gate while their token changes: not one wrong answer, and none late."""

    async def changes(self, demand, token, *steps):
        """Does the steps, each a call and what the gate says from its return on; judges every answer in between."""
        self.spread(token, demand)
        bearer = [("Authorization", f"Bearer {token}")]
        loads = [Load(urllib.parse.urlsplit(gate).port, bearer, f"/verify?{demand}") for gate in self.gates]
        stop = asyncio.Event()
        disturbing = asyncio.create_task(self.disturb(stop))
        made = []
        try:
            await self.waited(loads, 10)
            for call, expected in steps:
                began = time.monotonic()
                await call()
                if expected == ACTIVE:
                    self.spread(token, demand)
                made.append(Change(began, time.monotonic(), expected))
                self.assertEqual(self.gate(token, demand), expected)
                await self.waited(loads, 5, made[-1].returned)
        finally:
            stop.set()
            await disturbing
            for load in loads:
                await asyncio.to_thread(load.stop)
        for load in loads:
            wrong, certain = load.judge(ACTIVE, made)
            self.assertEqual(wrong, [])
            for count in certain:
                self.assertGreaterEqual(count, 5)

    def spread(self, token, demand=None):
        """What is taken away is gone everywhere at once; what is given is there at once, elsewhere soon."""
        first, *others = self.answers(token, demand)
        self.assertEqual(first, ACTIVE)
        deadline = time.monotonic() + wire.PATIENCE
        while others != [ACTIVE] * len(others):
            self.assertLess(time.monotonic(), deadline)
            _, *others = self.answers(token, demand)

    async def waited(self, loads, *wanted):
        for load in loads:
            await asyncio.to_thread(load.wait, *wanted)

    async def disturb(self, stop):
        """Creates, suspends and lists other tokens meanwhile."""
        client = self.connect(self.account_token, self.addresses[-1])
        while not stop.is_set():
            other, _ = await self.create(client)
            await self.act("suspend", other.id, client)
            await self.listed(client)

    def step(self, verb, token_id, expected):
        return lambda: self.act(verb, token_id), expected

    async def test_suspended_and_activated_again_and_again(self):
        for demand in (f"account_id={LIVE.account_id}", f"account_id={LIVE.account_pfid}",
                       f"environment_id={LIVE.environment_id}"):
            with self.subTest(demand=demand):
                created, token = await self.create(token_scope="environment", environment_id=LIVE.environment_id)
                await self.changes(demand, token, *[
                    self.step("suspend", created.id, SUSPENDED), self.step("activate", created.id, ACTIVE)] * 8)

    async def test_revoked_and_deleted(self):
        created, token = await self.create()
        await self.changes(f"account_id={LIVE.account_id}", token,
                           self.step("suspend", created.id, SUSPENDED), self.step("activate", created.id, ACTIVE),
                           self.step("revoke", created.id, (401, "revoked")),
                           (lambda: self.delete(created.id), (401, "invalid")))

    async def test_an_environment_that_is_deleted(self):
        environment = await self.make("/environment", name="under load")
        _, token = await self.create(token_scope="environment", environment_id=environment["id"])
        await self.changes(f"environment_id={environment['id']}", token,
                           (lambda: self.call("DELETE", f"/environment/{environment['id']}"), (401, "invalid")))

    async def test_the_very_next_call_of_the_api(self):
        created, token = await self.create()
        self.spread(token)
        itself = [self.connect(token, address) for address in self.addresses]
        for _ in range(20):
            await self.act("suspend", created.id)
            for client in itself:
                await self.fails(prefactor_http.PrefactorAuthError, 401, "bad_authtoken", client.validate_token())
            await self.act("activate", created.id)
            self.spread(token)
            for client in itself:
                await client.validate_token()


class OnTwoNodes:
    """The same, with a second server on the database: nothing that one process does in a row helps any more."""

    # A node that was second waits for the first one's heartbeat.
    rounds = 6

    @classmethod
    def setUpClass(cls):
        node = cls.enterClassContext(live.another_node(LIVE.store))
        cls.addresses = (LIVE.management, node.management)
        cls.gates = (LIVE.gate, node.gate)


class RaceOnTwoNodes(OnTwoNodes, Race):
    pass


class UnderLoadOnTwoNodes(OnTwoNodes, UnderLoad):
    pass


CASES = (Race, UnderLoad)
if LIVE.database == "postgres":
    CASES += (RaceOnTwoNodes, UnderLoadOnTwoNodes)
