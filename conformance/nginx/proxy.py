"""What stands around the gate in this suite: nginx with the documented configuration, an application, and stand-in gates."""

import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from wire import PATIENCE, Listener

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENTED = ROOT / "docs" / "nginx" / "countersign.conf"
TLS = ROOT / "docs" / "tls.md"

MAIN = """
{user}
worker_processes 2;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    include countersign.conf;
}}
"""


class Certificates:
    """The files and nginx's lines that docs/tls.md gives, made by its own commands."""

    def __init__(self):
        text = TLS.read_text(encoding="utf-8")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="countersign-tls-"))
        subprocess.run(["sh", "-euc", fenced(text, "sh")], cwd=self.directory, check=True, capture_output=True)
        self.lines = fenced(text, "nginx").replace("/etc/nginx/countersign", str(self.directory))

    def serve(self):
        """What the server is told."""
        def path(name):
            return str(self.directory / name)
        return ["--gate-tls-certificate", path("gate.internal.pem"), "--gate-tls-key", path("gate.internal-key.pem"),
                "--gate-client-ca", path("ca.pem")]

    def close(self):
        shutil.rmtree(self.directory)


def fenced(text, language):
    """The one block of this language in a page."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    if len(blocks) != 1:
        raise AssertionError(f"{len(blocks)} blocks of {language}")
    return blocks[0]


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
                if self.path == "/broken":
                    self.reply(500, b"the application's own")
                    return
                seen = {"method": self.command, "path": self.path, "headers": self.headers.items(), "length": len(body)}
                self.reply(200, json.dumps(seen).encode())

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
    """In the gate's place, something that answers as it is told: a status, "hang" or "cut"."""

    def __init__(self):
        self.manner = 200
        self._closing = threading.Event()
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if stand_in.manner == "cut":
                    self.close_connection = True
                    return
                if stand_in.manner == "hang":
                    stand_in._closing.wait(PATIENCE)
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

    def close(self):
        self._closing.set()
        super().close()


def replace(text, old, new):
    """The documented text with one value of the example changed; the value must be there, once."""
    if text.count(old) != 1:
        raise AssertionError(f"{DOCUMENTED.name} holds {old!r} {text.count(old)} times")
    return text.replace(old, new)


class Nginx:
    """Debian's nginx with the documented configuration, in a prefix of its own on an unprivileged port."""

    def __init__(self, gate, application, account_id, encryption=None):
        self._prefix = pathlib.Path(tempfile.mkdtemp(prefix="countersign-nginx-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        text = DOCUMENTED.read_text(encoding="utf-8")
        text = replace(text, "server 127.0.0.1:8788;", f"server {gate};")
        text = replace(text, "server 127.0.0.1:3000;", f"server {application};")
        text = replace(text, "listen 80;", f"listen 127.0.0.1:{self.port};")
        text = replace(text, f"account_id={'0' * 32}", f"account_id={account_id}")
        if encryption is not None:
            asked = "proxy_pass http://countersign_gate/verify"
            text = replace(text, asked, f"{encryption}\n{asked.replace('http:', 'https:')}")
        (self._prefix / "countersign.conf").write_text(text, encoding="utf-8")
        # Workers that gave up root could not reach the gate's socket in a private directory.
        user = "user root;" if os.geteuid() == 0 else ""
        (self._prefix / "nginx.conf").write_text(MAIN.format(user=user), encoding="utf-8")
        program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        self._process = subprocess.Popen(
            [program, "-p", self._prefix, "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"nginx ended: {self._process.stderr.read()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                continue
        raise AssertionError("nginx does not answer")

    def close(self):
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._process.stderr.close()
        shutil.rmtree(self._prefix)
