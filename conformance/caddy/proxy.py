"""Caddy with the documented configuration."""

from scene import ROOT, Proxy, program


class Caddy(Proxy):
    documented = ROOT / "docs" / "caddy" / "Caddyfile"

    def changes(self, gate, application):
        yield "http://:80 {", f"http://:{self.port} {{\n\tbind 127.0.0.1"
        yield "forward_auth 127.0.0.1:8788 {", f"forward_auth {gate} {{"
        yield "reverse_proxy 127.0.0.1:3000", f"reverse_proxy {application}"
        # Beside other suites, the address of Caddy's own management interface may be taken.
        yield "{\n\tservers {", "{\n\tadmin off\n\tservers {"

    def command(self):
        return [program("caddy"), "run", "--config", "Caddyfile"]
