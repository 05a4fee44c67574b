"""Traefik with the documented configuration."""

import contextlib

from scene import ROOT, Proxy, program
from wire import Client

STATIC = ROOT / "docs" / "traefik" / "traefik.yml"


class Traefik(Proxy):
    documented = ROOT / "docs" / "traefik" / "countersign.yml"

    def changes(self, gate, application):
        yield "http://127.0.0.1:8788/", f"http://{gate}/"
        yield "http://127.0.0.1:3000", f"http://{application}"

    def command(self):
        text = STATIC.read_text(encoding="utf-8")
        text = self.replace(text, '":80"', f'"127.0.0.1:{self.port}"')
        text = self.replace(text, "/etc/traefik/countersign.yml", str(self.directory / self.documented.name))
        (self.directory / STATIC.name).write_text(text, encoding="utf-8")
        return [program("traefik"), f"--configFile={STATIC.name}"]

    def is_ready(self):
        # Traefik listens before it has read its routes, and answers 404 until then.
        with contextlib.closing(Client(self.port)) as client:
            return client.request().status != 404
