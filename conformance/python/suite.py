"""The newest official Python SDK against a live server."""

import asyncio
import json
import pathlib
import select
import socket
import subprocess
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import cloudflare

import report
from dialect import CASES, CROWD, LIVE, Account, Case, Crowd, connect


class Paging(Crowd):
    def test_all_in_four_requests(self):
        self.check_all(self.walk())
        self.assertEqual(self.asked(), [None, "2", "3", "4"])
        counts = [request.answer["result_info"] for request in self.sent]
        self.assertEqual([info["count"] for info in counts], [1000, 1000, 500, 0])
        self.assertTrue(all(info["total_count"] == CROWD and info["total_pages"] == 3 for info in counts))

    def test_smaller_pages(self):
        self.check_all(self.walk(per_page=500))
        self.assertEqual(self.asked(), [None, "2", "3", "4", "5", "6"])

    def test_page_by_page(self):
        page = self.tokens.list(per_page=900, **self.scope)
        listed = list(page.result)
        while page.has_next_page() and len(listed) <= CROWD:
            page = page.get_next_page()
            listed += page.result
        self.check_all(listed)
        self.assertEqual(len(self.sent), 4)

    def test_asynchronous(self):
        async def walk():
            async with cloudflare.AsyncCloudflare(base_url=f"{LIVE.management}/client/v4", api_token=self.token,
                                                  max_retries=0) as client:
                listed = []
                async for token in client.zero_trust.access.service_tokens.list(**self.scope):
                    listed.append(token)
                    self.assertLessEqual(len(listed), CROWD)
                return listed
        self.check_all(asyncio.run(walk()))


class Commands(Account, Case):
    """What a command writes while the server runs is in force when the command returns."""

    def countersign(self, *arguments):
        done = subprocess.run([LIVE.binary, *arguments, *LIVE.store, "--json"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_a_management_token_from_creation_to_revocation(self):
        for _ in range(5):
            made = self.countersign("token", "create", "--account", LIVE.account_id, "--name", "short-lived",
                                    "--permission", "Access: Service Tokens Read")
            client, _ = connect(api_token=made["token"])
            reader = client.zero_trust.access.service_tokens
            reader.list(**self.scope)
            self.countersign("token", "revoke", made["id"], "--yes")
            self.fails(cloudflare.AuthenticationError, 401, 10000, reader.list, **self.scope)

    def test_an_account_and_a_zone(self):
        account = self.countersign("account", "create", "--name", "late")
        zone = self.countersign("zone", "create", "--account", account["id"], "--name", "late.example")
        owner, _ = connect(api_email=LIVE.email, api_key=LIVE.api_key)
        for scope in ({"account_id": account["id"]}, {"zone_id": zone["id"]}):
            self.assertTrue(owner.zero_trust.access.service_tokens.create(name="first", **scope).client_secret)


class Connections(Account, Case):
    """SDKs keep connections and send a body after its headers: a refusal that comes in between must not break either."""

    def read(self, stream):
        """The status, the headers in lower case and the body of one answer."""
        status = int(stream.readline().split()[1])
        headers = {}
        while (line := stream.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, stream.read(int(headers["content-length"]))

    def test_a_refusal_before_the_body_leaves_the_connection_whole(self):
        path = f"/client/v4{self.path}"
        bearer = f"Authorization: Bearer {LIVE.read_token}\r\n"
        early = ((f"POST {path}", bearer, 403), (f"PUT {path}/{LIVE.account_id}", "", 400), (f"PATCH {path}", bearer, 405),
                 ("POST /client/v4/nowhere", bearer, 404), (f"POST {path}", "Authorization: Bearer x\r\n", 400))
        body = b'{"name":"late"}'
        server = urllib.parse.urlsplit(LIVE.management)
        for line, credential, expected in early:
            with self.subTest(line=line, expected=expected), \
                    socket.create_connection((server.hostname, server.port), timeout=30) as connection, \
                    connection.makefile("rb") as stream:
                head = f"{line} HTTP/1.1\r\nHost: {server.netloc}\r\n{credential}Content-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode())
                # Gives a refusal the time to come first; a server that waits for the body is as good.
                select.select([connection], [], [], 0.3)
                connection.sendall(body)
                status, headers, _ = self.read(stream)
                self.assertEqual(status, expected)
                if headers.get("connection", "").lower() == "close":
                    continue
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {server.netloc}\r\n{bearer}\r\n".encode())
                self.assertEqual(self.read(stream)[0], 200)


if __name__ == "__main__":
    sys.exit(report.run(*CASES, Commands, Connections, Paging))
