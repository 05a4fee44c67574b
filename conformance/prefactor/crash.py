"""A server that is killed while clients with keys wait for it: each gets its answer in the end, and nothing is done twice."""

import asyncio
import itertools
import random
import unittest

import prefactor_http

import live
import wire
from api import key
from installation import LIVE

AT_ONCE = 12
# On PostgreSQL a call that takes something away waits for the killed node until that must have gone stale by itself.
ROUNDS = 2 if LIVE.database == "postgres" else 5


class Crash(unittest.IsolatedAsyncioTestCase):
    """On a server of its own, since the suite's is everybody's."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(live.Countersign(LIVE.database))

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        self.answered = 0
        self.answer = asyncio.Condition()
        self.clients = [self.connect() for _ in range(AT_ONCE)]
        await asyncio.gather(*(client.validate_token() for client in self.clients))

    def connect(self):
        client = prefactor_http.PrefactorHttpClient(prefactor_http.HttpClientConfig(
            api_url=self.server.management, api_token=self.server.installation["account_token"], max_retries=500,
            initial_retry_delay=0.02, max_retry_delay=0.05))
        self.addAsyncCleanup(client.close)
        return client

    async def listed(self):
        rows, offset = [], 0
        while offset is not None:
            answer = await self.clients[0].request("GET", "/api/v1/api_token", params={"pagination[offset]": offset})
            rows += answer["summaries"]
            offset = answer["pagination"]["next_page_offset"]
        return rows

    def gate(self, token):
        account_id = self.server.installation["account"]["id"]
        answer = wire.ask(self.server.gate, [("Authorization", f"Bearer {token}")], f"account_id={account_id}")
        return answer.status, answer.reason

    async def power_cuts(self, work):
        """Has every client work until the server was killed and started some times."""
        stop = asyncio.Event()
        working = [asyncio.create_task(self.keep_on(client, work, stop)) for client in self.clients]
        for _ in range(ROUNDS):
            # The others are on their way when an answer arrives.
            async with self.answer:
                enough = self.answered + random.randint(AT_ONCE, 5 * AT_ONCE)
                await asyncio.wait_for(self.answer.wait_for(lambda: self.answered >= enough), wire.PATIENCE)
            await asyncio.to_thread(self.server.kill)
            await asyncio.to_thread(self.server.start)
        stop.set()
        return list(itertools.chain(*await asyncio.gather(*working)))

    async def keep_on(self, client, work, stop):
        done = []
        while not stop.is_set():
            done.append(await work(client))
            async with self.answer:
                self.answered += 1
                self.answer.notify_all()
        return done

    async def test_tokens_are_made_once(self):
        async def create(client):
            body = {"details": {"token_scope": "account"}, "idempotency_key": key()}
            return await client.request("POST", "/api/v1/api_token", json_data=body)

        before = len(await self.listed())
        made = await self.power_cuts(create)
        listed = {row["id"] for row in await self.listed()}
        self.assertEqual(len({answer["details"]["id"] for answer in made}), len(made))
        self.assertEqual(len(listed), before + len(made))
        self.assertLessEqual({answer["details"]["id"] for answer in made}, listed)
        for answer in made:
            self.assertEqual(self.gate(answer["token"]), (200, None))

    async def test_what_was_taken_away_stays_taken_away(self):
        async def suspend(client):
            made = await client.request("POST", "/api/v1/api_token", json_data={
                "details": {"token_scope": "account"}, "idempotency_key": key()})
            path = f"/api/v1/api_token/{made['details']['id']}/suspend"
            suspended = await client.request("POST", path, json_data={"idempotency_key": key()})
            self.assertEqual(suspended["details"]["status"], "suspended")
            return made["token"]

        for token in await self.power_cuts(suspend):
            self.assertEqual(self.gate(token), (401, "disabled"))


CASES = (Crash,)
