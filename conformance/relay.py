"""Between Prefactor's clients and the management API: notes and checks what is said there, and can lose answers."""

import http.client
import http.server
import json
import re
import threading
import urllib.parse
from typing import NamedTuple

from wire import PATIENCE, Listener

# A document about the API, and no answer of it.
DOCUMENT = "/api/v1/openapi"
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
# The codes of a whole answer, with the statuses that may carry each.
STATUSES = {
    "bad_request": {400, 405, 413, 415},
    "bad_authtoken": {401},
    "not_authenticated": {401},
    "not_permitted": {403},
    "not_found": {404},
    "invalid_action": {409},
    "idempotency_key_already_used": {409},
    "validation_errors": {422},
    "unknown": {429},
}
LEAVES = {"required_value", "invalid_value", "unexpected_ref_type"}


class Sent(NamedTuple):
    """One request as it went out, and what came back."""

    method: str
    path: str
    query: str
    headers: http.client.HTTPMessage
    body: bytes
    status: int
    replied: http.client.HTTPMessage
    text: str

    @property
    def answer(self):
        return json.loads(self.text)


def require(holds, what):
    if not holds:
        raise AssertionError(what)


def check_answer(sent):
    """Holds for every answer of the dialect, so it is checked on every answer."""
    require(sent.replied["Content-Type"] == "application/json; charset=utf-8", f"content-type {sent.replied['Content-Type']}")
    require(sent.replied["X-Request-Id"], "x-request-id is missing")
    answer = sent.answer
    require(isinstance(answer, dict) and answer, "the answer is no object")
    require((answer.get("status") == "success") == (sent.status == 200), f"status {sent.status} with {answer}")
    require(JWT.findall(sent.text) == issued(answer), "a token where none belongs")
    if sent.status == 200:
        if "summaries" in answer:
            check_list(answer)
        return
    check_error(answer)
    require(sent.status in STATUSES.get(answer["code"], ()), f"status {sent.status} with code {answer['code']}")
    require((sent.status == 401) == ("WWW-Authenticate" in sent.replied), "WWW-Authenticate")


def issued(answer):
    """The tokens that an answer may hold: of a create, and of creates in bulk."""
    outputs = answer.get("outputs", {}).values()
    return [one["token"] for one in (answer, *outputs) if JWT.fullmatch(one.get("token", ""))]


def check_error(error):
    """Either shape of an error; the one with fields says for each what is wrong with it."""
    require(error["status"] == "error" and isinstance(error["message"], str) and error["message"], f"the error {error}")
    require((error["code"] == "validation_errors") == ("errors" in error), f"errors beside {error['code']}")
    require(error.keys() <= {"status", "code", "message", "errors"}, f"the error has {sorted(error)}")
    for nested in error.get("errors", {}).values():
        check_error(nested)
        require(nested["code"] in LEAVES | {"validation_errors"}, f"{nested['code']} at a field")


def check_list(answer):
    require(answer.keys() == {"status", "summaries", "pagination", "sorting"}, f"the list has {sorted(answer)}")
    require(answer["sorting"].keys() == {"field", "direction"}, f"sorting is {answer['sorting']}")
    page = answer["pagination"]
    count, size, offset = page["item_count"], page["page_size"], page["page_offset"]
    shown = max(0, min(size, count - offset))
    require(len(answer["summaries"]) == shown, f"{len(answer['summaries'])} items on the page {page}")
    require(page == {
        "item_count": count,
        "item_start": offset + 1 if shown else 0,
        "item_end": offset + shown if shown else 0,
        "page_size": size,
        "page_offset": offset,
        "page_count": -(-count // size),
        "page_index": offset // size + 1,
        "next_page_offset": offset + size if offset + size < count else None,
        "previous_page_offset": max(0, offset - size) if offset else None,
    }, f"the page {page}")


class Relay(Listener):
    """Passes requests on to the server; `sent` has them, `problems` what was wrong with the answers."""

    def __init__(self, target):
        self._target = urllib.parse.urlsplit(target)
        self._lock = threading.Lock()
        self._losses = 0
        self.sent = []
        self.problems = []
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                self.onward = http.client.HTTPConnection(relay._target.hostname, relay._target.port, timeout=PATIENCE)

            def finish(self):
                self.onward.close()
                super().finish()

            def pass_on(self):
                sent = self.ask()
                relay._note(sent)
                if relay._loses():
                    self.close_connection = True
                    return
                self.send_response_only(sent.status)
                for name, value in sent.replied.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent.text.encode())

            def ask(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    self.onward.putheader(name, value)
                self.onward.endheaders(body)
                response = self.onward.getresponse()
                path, _, query = self.path.partition("?")
                return Sent(self.command, path, query, self.headers, body, response.status, response.headers,
                            response.read().decode())

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on

            def log_message(self, *_):
                pass

        super().__init__(Handler)
        self.url = f"http://{self.address}"

    def _note(self, sent):
        self.sent.append(sent)
        if not sent.path.startswith("/api/v1/") or sent.path == DOCUMENT:
            return
        try:
            check_answer(sent)
        except Exception as problem:
            self.problems.append(f"{sent.method} {sent.path}?{sent.query}: {type(problem).__name__}: {problem}")

    def lose(self, count):
        """The next so many answers never arrive: the server did what was asked, and the client can't know."""
        with self._lock:
            self._losses = count

    def _loses(self):
        with self._lock:
            if self._losses == 0:
                return False
            self._losses -= 1
            return True
