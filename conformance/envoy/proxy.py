"""Envoy with the documented configuration."""

from scene import ROOT, Proxy, program


def socket_address(address):
    host, port = address.rsplit(":", 1)
    return f"socket_address: {{ address: {host}, port_value: {port} }}"


class Envoy(Proxy):
    documented = ROOT / "docs" / "envoy" / "envoy.yaml"

    def changes(self, gate, application):
        yield socket_address("0.0.0.0:80"), socket_address(f"127.0.0.1:{self.port}")
        yield f"endpoint: {{ address: {{ {socket_address('127.0.0.1:8788')} }} }}", f"endpoint: {{ address: {{ {gate} }} }}"
        yield socket_address("127.0.0.1:3000"), socket_address(application)

    def command(self):
        return [program("envoy"), "-c", self.documented.name, "--disable-hot-restart", "--concurrency", "2",
                "--log-level", "warning"]
