"""Lists in every form that a client may ask for, and paging by whoever trusts `next_page_offset`."""

import asyncio
import json

import pfid
import prefactor_http
from prefactor_http.models.base import ListResponse

from api import ApiTokenSummary, Case, from_now, tasks
from installation import LIVE

FIELDS = ("id", "inserted_at", "created_at", "updated_at", "timestamp", "expires_at", "last_used_at", "last_seen", "status",
          "token_scope")
COLUMN = {"created_at": "inserted_at", "timestamp": "inserted_at", "last_seen": "last_used_at"}
CROWD = 250


def forms():
    """Every way to say an order: the query's parameters, and the field and direction that they mean."""
    for field in FIELDS:
        yield {"sorting": field}, field, "asc"
        yield {"sorting": f"-{field}"}, field, "desc"
        yield {"sorting[field]": field}, field, "asc"
        for direction in ("asc", "desc"):
            yield {"sorting[field]": field, "sorting[direction]": direction}, field, direction
            yield {"sorting": json.dumps({"field": field, "direction": direction})}, field, direction
            for nulls in ("first", "last"):
                yield {"sorting[field]": field, "sorting[direction]": direction, "sorting[nulls]": nulls}, field, direction


class Lists(Case):
    """On an account of its own, with 250 tokens beside its first."""

    account_token = LIVE.crowd.account_token
    account_id = LIVE.crowd.account_pfid
    made = None

    async def asyncSetUp(self):
        await super().asyncSetUp()
        if Lists.made is None:
            Lists.made = await self.fill()
            self.sent.clear()

    async def fill(self):
        """Tokens of every scope and state, some used, with expiry times that differ."""
        agent = await self.make("/agent", name="crowd")
        environment = await self.make("/environment", name="crowd")
        scopes = ({}, {"token_scope": "environment", "environment_id": environment["id"]},
                  {"token_scope": "agent_deployment", "environment_id": environment["id"], "agent_id": agent["id"]})

        async def one(number):
            expires_at = from_now(days=1 + number * 7 % 50).isoformat()
            created, token = await self.create(**scopes[number % 3], expires_at=expires_at)
            if number % 5 == 0:
                await self.connect(token).validate_token()
            if number % 4 == 0:
                await self.act("suspend", created.id)
            if number % 8 == 0:
                await self.act("revoke", created.id)
            return created.id

        made = set(await tasks(CROWD, one))
        self.assertEqual(len(made), CROWD)
        first = await self.listed(page_size=1)
        return made | {first.summaries[0].id}

    async def walk(self, path, size, params=None):
        """Follows `next_page_offset` from 0 until it is null, and believes it whatever it says."""
        rows, offset, asked = [], 0, 0
        while offset is not None:
            answer = await self.call("GET", path, params={
                **(params or {}), "pagination[offset]": offset, "pagination[page_size]": size})
            rows += answer["summaries"]
            offset = answer["pagination"]["next_page_offset"]
            asked += 1
            self.assertLessEqual(asked, 1000, "the list does not end")
        return rows, asked

    async def test_paging_blindly(self):
        for size in (1, 7, 13, 50, 97, 100):
            with self.subTest(size=size):
                rows, asked = await self.walk("/api_token", size)
                ids = [row["id"] for row in rows]
                self.assertEqual(len(ids), len(self.made))
                self.assertEqual(set(ids), self.made)
                self.assertEqual(ids, sorted(ids))
                self.assertEqual(asked, -(-len(self.made) // size))

    async def test_paging_in_every_order(self):
        for field in FIELDS:
            for sign in ("", "-"):
                with self.subTest(sorting=sign + field):
                    rows, _ = await self.walk("/api_token", 33, {"sorting": sign + field})
                    self.assertEqual(len(rows), len(self.made))
                    self.assertEqual({row["id"] for row in rows}, self.made)

    async def test_paging_while_others_use_tokens_and_make_them(self):
        stop = asyncio.Event()
        used, token = await self.create()
        Lists.made.add(used.id)

        async def disturb():
            while not stop.is_set():
                created, _ = await self.create(client=self.connect(self.account_token))
                Lists.made.add(created.id)
                await self.connect(token).validate_token()

        before = set(self.made)
        disturbing = asyncio.create_task(disturb())
        try:
            rows, _ = await self.walk("/api_token", 9)
        finally:
            stop.set()
            await disturbing
        ids = [row["id"] for row in rows]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual(before, set(ids))

    async def test_every_sorting_form(self):
        for params, field, direction in forms():
            with self.subTest(**params):
                answer = await self.call("GET", "/api_token", params=params)
                listed = ListResponse[ApiTokenSummary](**answer)
                self.assertEqual((listed.sorting.field, listed.sorting.direction), (field, direction))
                self.check_order(listed.summaries, field, direction, params.get("sorting[nulls]"))

    def check_order(self, summaries, field, direction, nulls):
        """Ties are broken by the id, in the same direction; times are printed shorter than they are sorted."""
        column = COLUMN.get(field, field)
        values = [getattr(token, column) for token in summaries]
        nulls = nulls or ("last" if direction == "asc" else "first")
        named = [value for value in values if value is not None]
        missing = [None] * (len(values) - len(named))
        self.assertEqual(values, missing + named if nulls == "first" else named + missing)
        descending = direction == "desc"
        self.assertEqual(named, sorted(named, reverse=descending))
        for before, after in zip(summaries, summaries[1:]):
            if getattr(before, column) == getattr(after, column) and not column.endswith("_at"):
                self.assertEqual(before.id > after.id, descending)

    async def test_without_any_parameter(self):
        listed = await self.listed()
        self.assertEqual((listed.sorting.field, listed.sorting.direction), ("id", "asc"))
        self.assertEqual((len(listed.summaries), listed.pagination.page_size), (100, 100))
        self.assertEqual(listed.pagination.item_count, len(self.made))

    async def test_what_a_list_shows(self):
        for summary in (await self.call("GET", "/api_token"))["summaries"]:
            self.assertNotIn("token", summary)
            self.assertNotIn("available_actions", summary)
            self.assertEqual(pfid.extract_partition(summary["id"]), pfid.extract_partition(self.account_id))

    async def test_pages_anywhere(self):
        count = len(self.made)
        for offset, size in ((0, 1), (5, 10), (count - 1, 10), (count, 10), (count + 15, 10), (0, 100), (99, 100)):
            # Whoever answered wrongly is found by what every answer is checked for.
            listed = await self.listed(**{"pagination[offset]": offset, "pagination[page_size]": size})
            self.assertEqual((listed.pagination.page_offset, listed.pagination.page_size), (offset, size))

    async def test_a_key_on_a_list_means_nothing(self):
        for _ in range(2):
            await self.listed(idempotency_key="the same key")
            self.assertNotIn("Idempotency-Replayed", self.sent[-1].replied)

    async def test_wrong_pages(self):
        for name, values in (("page_size", ("0", "101", "x", "-1", "1.5")), ("offset", ("-1", "1.5", "1x"))):
            for value in values:
                with self.subTest(name=name, value=value):
                    await self.invalid(self.listed(**{f"pagination[{name}]": value}), "invalid_value", "pagination", name)

    async def test_wrong_orders(self):
        for params in ({"sorting": "bogus"}, {"sorting": "--id"}, {"sorting": "-"}, {"sorting[field]": "title"},
                       {"sorting[field]": "id", "sorting[direction]": "sideways"}, {"sorting[direction]": "sideways"},
                       {"sorting": "id", "sorting[field]": "id"}, {"sorting": "{"}):
            with self.subTest(**params):
                error = await self.fails(prefactor_http.PrefactorValidationError, 422, "validation_errors",
                                         self.listed(**params))
                self.assertIn("sorting", error.errors)

    async def test_other_lists_are_paged_too(self):
        made = await tasks(11, lambda number: self.make("/environment", name=f"environment {number}"))
        await tasks(11, lambda number: self.make("/agent", name=f"agent {number}"))
        for path in ("/environment", "/agent", "/admin_user", "/admin_user_invite", "/account", "/agent_deployment"):
            for sorting in ("id", "-id", "-created_at", "updated_at"):
                with self.subTest(path=path, sorting=sorting):
                    rows, _ = await self.walk(path, 3, {"sorting": sorting})
                    ids = [row["id"] for row in rows]
                    self.assertEqual(len(ids), len(set(ids)))
                    if path == "/environment":
                        self.assertLessEqual({one["id"] for one in made}, set(ids))
                    if sorting in ("id", "-id"):
                        self.assertEqual(ids, sorted(ids, reverse=sorting == "-id"))

    async def test_accounts_are_apart(self):
        self.assertEqual((await self.listed(account_id=self.account_id)).pagination.item_count, len(self.made))
        for foreign in (LIVE.account_pfid, LIVE.other.account_pfid):
            await self.denied(self.listed(account_id=foreign))
        other = await self.listed(client=self.connect(LIVE.other.account_token))
        self.assertFalse({token.id for token in other.summaries} & self.made)
        self.assertEqual({token.account_id for token in other.summaries}, {LIVE.other.account_pfid})


CASES = (Lists,)
