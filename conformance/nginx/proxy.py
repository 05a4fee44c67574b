"""nginx with the documented configuration, and the certificates with which it asks the gate over TLS."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from scene import ROOT, Proxy, program

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


class Nginx(Proxy):
    """Debian's nginx."""

    documented = ROOT / "docs" / "nginx" / "countersign.conf"

    def __init__(self, gate, application, account_id, encryption=None):
        self._encryption = encryption
        super().__init__(gate, application, account_id)

    def changes(self, gate, application):
        yield "server 127.0.0.1:8788;", f"server {gate};"
        yield "server 127.0.0.1:3000;", f"server {application};"
        yield "listen 80;", f"listen 127.0.0.1:{self.port};"
        if self._encryption is not None:
            asked = "proxy_pass http://countersign_gate/verify"
            yield asked, f"{self._encryption}\n{asked.replace('http:', 'https:')}"

    def command(self):
        # Workers that gave up root could not reach the gate's socket in a private directory.
        user = "user root;" if os.geteuid() == 0 else ""
        (self.directory / "nginx.conf").write_text(MAIN.format(user=user), encoding="utf-8")
        return [program("nginx"), "-p", self.directory, "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]
