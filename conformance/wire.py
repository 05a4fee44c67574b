"""Plain HTTP as these suites need it: a client that can say anything, and small servers in the background."""

import http.client
import http.server
import json
import threading
import urllib.parse

PATIENCE = 30


class Answer:
    """What a client got."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.reason = response.getheader("Countersign-Reason")
        self.body = response.read()

    def seen(self):
        """What the application says reached it: header names in lower case, with all the values of each."""
        headers = {}
        for name, value in json.loads(self.body)["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        return headers


def credentials(pair):
    """The header pair, as a client sends it."""
    return [("CF-Access-Client-Id", pair["client_id"]), ("CF-Access-Client-Secret", pair["client_secret"])]


class Client:
    """One connection, kept open; a request can carry the same header twice."""

    def __init__(self, port, address=None):
        source = (address, 0) if address else None
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=source)

    def request(self, headers=(), method="GET", path="/", body=None):
        self._connection.putrequest(method, path)
        for name, value in headers:
            self._connection.putheader(name, value)
        if body is not None:
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body)
        return Answer(self._connection.getresponse())

    def request_chunked(self, headers, path, chunks):
        self._connection.request("POST", path, iter(chunks), dict(headers), encode_chunked=True)
        return Answer(self._connection.getresponse())

    def close(self):
        self._connection.close()


def ask(gate, headers, demand):
    """What the gate at this address says to these headers, as a proxy would see it."""
    client = Client(urllib.parse.urlsplit(gate).port)
    try:
        return client.request(headers, path=f"/verify?{demand}")
    finally:
        client.close()


class Listener(http.server.ThreadingHTTPServer):
    """A small HTTP server on a free port, in the background until it is closed."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.address = f"127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        # A client that goes away in the middle is part of these tests.
        pass
