"""What stands around the gate in the suites of proxies: the proxy itself, an application, and stand-in gates."""

import base64
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from wire import PATIENCE, Listener

ROOT = pathlib.Path(__file__).resolve().parent.parent
HANDSHAKE = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SEARCHED = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))


def program(name):
    """The program of that name: of the suite's own folder, or else the machine's. None where there is none."""
    own = os.environ.get("CONFORMANCE_PROGRAMS")
    return shutil.which(name, path=f"{own}/bin" if own else SEARCHED)


class Proxy:
    """A real proxy with its documented configuration, in a directory of its own, on an unprivileged port."""

    documented = None
    # How the demand stands in there.
    demand = "account_id={}"

    def __init__(self, gate, application, account_id):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="countersign-proxy-"))
        self.port = free_port()
        text = self.documented.read_text(encoding="utf-8")
        for old, new in self.changes(gate, application):
            text = self.replace(text, old, new)
        text = self.replace(text, self.demand.format("0" * 32), self.demand.format(account_id))
        (self.directory / self.documented.name).write_text(text, encoding="utf-8")
        self._log = open(self.directory / "output", "wb")
        self._process = subprocess.Popen(self.command(), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=self._log,
                                         stderr=self._log, env={**os.environ, "HOME": str(self.directory)})
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def changes(self, gate, application):
        """What of the example becomes what, each once: the gate, the application, where clients are heard."""
        raise NotImplementedError

    def command(self):
        """How the program is started in its directory."""
        raise NotImplementedError

    def is_ready(self):
        """Whether a client would be served as configured; an OSError is a no, too."""
        socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        return True

    def replace(self, text, old, new):
        """The documented text with one value of the example changed; the value must be there, once."""
        if text.count(old) != 1:
            raise AssertionError(f"{self.documented.name} holds {old!r} {text.count(old)} times")
        return text.replace(old, new)

    def _wait(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if self.is_ready():
                    return
            except OSError:
                continue
        said = (self.directory / "output").read_text(encoding="utf-8", errors="replace")
        raise AssertionError(f"{self.documented.name}: the proxy does not listen: {said[-4000:]}")

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        shutil.rmtree(self.directory)


def told_to_slow(proxy_class, slowing="account_id={}&throttle_status=429"):
    """The same proxy, whose demand says that it hands the status 429 on."""
    class ToldToSlow(proxy_class):
        def changes(self, gate, application):
            yield from super().changes(gate, application)
            yield self.demand.format("0" * 32), slowing.format("0" * 32)
    return ToldToSlow


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Application(Listener):
    """The upstream: answers with what reached it, and counts."""

    def __init__(self):
        self.reached = 0
        application = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                application.reached += 1
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b"".join(iter(self.chunk, b""))
                if self.headers.get("Upgrade") == "websocket":
                    self.echo()
                    return
                if self.path == "/broken":
                    self.reply(500, b"the application's own")
                    return
                seen = {"method": self.command, "path": self.path, "headers": self.headers.items(), "length": len(body)}
                self.reply(200, json.dumps(seen).encode())

            def echo(self):
                """Takes the upgrade, and says every line again."""
                key = self.headers["Sec-WebSocket-Key"].encode()
                self.send_response(101)
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "Upgrade")
                self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + HANDSHAKE).digest()).decode())
                self.send_header("Seen", self.headers.get("Countersign-Token-Id", "nobody"))
                self.end_headers()
                while line := self.rfile.readline():
                    self.wfile.write(line)
                self.close_connection = True

            def chunk(self):
                chunk = self.rfile.read(int(self.rfile.readline(), 16))
                self.rfile.readline()
                return chunk

            def reply(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

            def log_message(self, *_):
                pass

        super().__init__(Handler)


class StandIn(Listener):
    """In the gate's place, something that answers as it is told: a status, "hang", "cut" or "garbage"."""

    def __init__(self):
        self.manner = 200
        self.hanging = threading.Event()
        self._released = threading.Event()
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if stand_in.manner == "cut":
                    self.close_connection = True
                    return
                if stand_in.manner == "garbage":
                    self.close_connection = True
                    self.wfile.write(b"220 smtp.example ESMTP\r\n" * 3)
                    return
                if stand_in.manner == "hang":
                    stand_in.hanging.set()
                    stand_in._released.wait(PATIENCE)
                    self.close_connection = True
                    return
                self.send_response(stand_in.manner)
                self.send_header("Countersign-Token-Id", "of the stand-in")
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(Handler)

    def release(self):
        """Ends what hangs, without an answer."""
        self._released.set()

    def close(self):
        self.release()
        super().close()
