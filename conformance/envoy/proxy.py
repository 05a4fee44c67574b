"""Envoy with the documented configurations."""

from scene import ROOT, Proxy, program


def socket_address(address):
    host, port = address.rsplit(":", 1)
    return f"socket_address: {{ address: {host}, port_value: {port} }}"


class Envoy(Proxy):
    """Asks the gate by HTTP."""

    documented = ROOT / "docs" / "envoy" / "envoy.yaml"

    def changes(self, gate, application):
        yield socket_address("0.0.0.0:80"), socket_address(f"127.0.0.1:{self.port}")
        yield f"endpoint: {{ address: {{ {socket_address('127.0.0.1:8788')} }} }}", f"endpoint: {{ address: {{ {gate} }} }}"
        yield socket_address("127.0.0.1:3000"), socket_address(application)

    def command(self):
        return [program("envoy"), "-c", self.documented.name, "--disable-hot-restart", "--concurrency", "2",
                "--log-level", "warning"]


class EnvoyByGrpc(Envoy):
    """Asks the gate by gRPC."""

    documented = ROOT / "docs" / "envoy" / "grpc.yaml"
    demand = 'account_id: "{}"'


class TellingAll(EnvoyByGrpc):
    """Tells the gate of all headers, drops none itself, and writes down what it learns of who asks."""

    def changes(self, gate, application):
        yield from super().changes(gate, application)
        text = self.documented.read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        for beginning in ("- remove_on_match: { key_matcher: { prefix: countersign",
                          "- remove_on_match: { key_matcher: { prefix: cf-access-jwt",
                          "headers_with_underscores_action"):
            yield next(line for line in lines if line.lstrip().startswith(beginning)), ""
        start = text.index("                      allowed_headers:")
        yield text[start:text.index("                      grpc_service:")], ""
        yield "                http_filters:\n", f"{ACCESS_LOG}                http_filters:\n"


ACCESS_LOG = """\
                access_log:
                  - name: envoy.access_loggers.file
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: access.log
                      log_format:
                        json_format:
                          token: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:token_id)%"
                          name: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:token_name)%"
                          account: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:account_id)%"
                          reason: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:reason)%"
                          path: "%REQ(:PATH)%"
"""


def routed(proxy_class, extensions):
    """The same proxy with a route of its own for one path, where more is demanded."""
    class Routed(proxy_class):
        def changes(self, gate, application):
            yield from super().changes(gate, application)
            route = "                        - match: { prefix: / }\n"
            said = "\n".join(f"                                  {name}: \"{value}\"" for name, value in extensions.items())
            yield route, f"""\
                        - match: {{ path: /narrow }}
                          route: {{ cluster: application, timeout: 0s }}
                          typed_per_filter_config:
                            countersign:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings:
                                context_extensions:
{said}
{route}"""
    return Routed


def to_http2(proxy_class):
    """The same proxy in front of an application that speaks HTTP/2, as its configuration says in a comment."""
    class ToHttp2(proxy_class):
        def changes(self, gate, application):
            yield from super().changes(gate, application)
            lines = self.documented.read_text(encoding="utf-8").splitlines(keepends=True)
            for line in lines[next(n for n, line in enumerate(lines) if "speaks HTTP/2" in line) + 1:]:
                if not line.lstrip().startswith("# "):
                    break
                yield line, line.replace("# ", "", 1)
    return ToHttp2
