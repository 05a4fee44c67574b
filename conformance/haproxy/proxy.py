"""Debian's HAProxy with the documented configuration."""

from scene import ROOT, Proxy, program

LUA = ROOT / "docs" / "haproxy" / "countersign.lua"


class Haproxy(Proxy):
    documented = ROOT / "docs" / "haproxy" / "haproxy.cfg"

    def __init__(self, gate, application, account_id, script=LUA):
        self._script = script
        super().__init__(gate, application, account_id)

    def changes(self, gate, application):
        yield "server gate 127.0.0.1:8788\n", f"server gate {gate}\n"
        yield "server application 127.0.0.1:3000", f"server application {application}"
        yield "bind :80", f"bind 127.0.0.1:{self.port}"
        # Another HAProxy on this machine may have the name.
        yield "lua.countersign abns@countersign ", f"lua.countersign abns@countersign-{self.port} "
        yield "bind abns@countersign\n", f"bind abns@countersign-{self.port}\n"
        yield "/etc/haproxy/countersign.lua", str(self._script)

    def command(self):
        return [program("haproxy"), "-db", "-f", self.documented.name]
