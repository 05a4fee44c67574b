#!/usr/bin/env python3
"""CPU time for each credential that is checked: Countersign's gate beside other products that check one over HTTP.

    peers/measure.py

Installs the peers from their registries, below target/peers. Each server has core 0 to itself while it is asked, with
its database where it has one; who asks (wrk) has core 1. All have 10 000 credentials, presented in turn on 64 kept
connections. The sides take turns. A peer that can't be installed is named, and left out.
Only Python's standard library is needed, and wrk; the peers take Node.js 20, PostgreSQL, and OpenSSL's headers.
"""

import concurrent.futures
import http.client
import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "conformance"))
from live import Lines, Misbehaved, Postgres, clean_environment  # noqa: E402

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PEERS = TARGET / "peers"
CARGO = os.environ.get("CARGO", "cargo")
RUSTY_VAULT = "0.2.1"
CREDENTIALS = 10_000
CONNECTIONS = 64
ROUNDS = 3
WARM_SECONDS = 1
SECONDS = 3
START_SECONDS = 300
TICKS = os.sysconf("SC_CLK_TCK")


def run(*command, **options):
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise Misbehaved(f"{' '.join(map(str, command))} failed")


class Server:
    """Something that checks credentials: its processes, and requests that it must admit."""

    def __init__(self, name, stack):
        self.name = name
        self.processes = []
        self.database = None
        self.requests = []
        self.port = None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="countersign-peers-"))
        stack.append(self)

    def spawn(self, *command, **environment):
        process = subprocess.Popen(
            command, cwd=self.directory, env={**clean_environment(), **environment}, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=open(self.directory / "log", "a", encoding="utf-8"),
            preexec_fn=lambda: os.sched_setaffinity(0, {0}))
        self.processes.append(process)
        return Lines(process.stdout)

    def told(self, lines):
        """What a server of our own making says once it listens."""
        line = lines.next(START_SECONDS)
        if line is None:
            raise Misbehaved(f"{self.name} did not start: {(self.directory / 'log').read_text()[-400:]}")
        told = json.loads(line)
        self.port = told["port"]
        self.requests = [get(told["path"], headers) for headers in told["headers"]]
        return self

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait()
        if self.database:
            self.database.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def cpu(self):
        """Seconds that its processes and theirs have run, its database's among them."""
        parents, times = {}, {}
        for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rsplit(") ", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            process = int(entry.parent.name)
            parents[process], times[process] = int(fields[1]), int(fields[11]) + int(fields[12])
        mine = {process.pid for process in [*self.processes, *([self.database.process] if self.database else [])]}
        while more := {process for process, parent in parents.items() if parent in mine} - mine:
            mine |= more
        return sum(times[process] for process in mine) / TICKS


def get(path, headers):
    return f"GET {path} HTTP/1.1\r\nhost: peer\r\n{headers}\r\n".encode()


def post(path, headers, document):
    body = json.dumps(document)
    return (f"POST {path} HTTP/1.1\r\nhost: peer\r\n{headers}content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}").encode()


def call(port, method, path, headers, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status not in (200, 201):
        raise Misbehaved(f"{method} {path}: {answer.status} {text[:200]}")
    return json.loads(text)


def wait(port, server):
    end = time.monotonic() + 30
    while time.monotonic() < end and server.processes[-1].poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise Misbehaved(f"{server.name} does not listen")


def countersign(stack):
    run(CARGO, "build", "--release", "--locked", "--quiet", "--bin", "countersign", cwd=ROOT)
    binary = TARGET / "release" / "countersign"
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    server = Server(f"Countersign {told.split()[1]}", stack)
    store = ["--data-dir", server.directory / "data"]
    made = subprocess.run([binary, "init", "--json", *store], capture_output=True, text=True, check=True)
    made = json.loads(made.stdout)
    lines = server.spawn(binary, "serve", *store, "--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0",
                         "--log-level", "warn")
    management, gate = (int(lines.next(START_SECONDS).rsplit(":", 1)[1]) for _ in range(2))
    server.port = gate
    path = f"/client/v4/accounts/{made['account']['id']}/access/service_tokens"
    create = post(path, f"authorization: Bearer {made['api_token']}\r\n", {"name": "peer"})
    pairs = [made["result"] for made in ask_each(management, create, 201)]
    server.requests = [
        get(f"/verify?account_id={made['account']['id']}",
            f"cf-access-client-id: {pair['client_id']}\r\ncf-access-client-secret: {pair['client_secret']}\r\n")
        for pair in pairs]
    return server


def rusty_vault(stack):
    root = PEERS / "rusty_vault"
    if not (root / "bin" / "rvault").exists():
        run(CARGO, "install", "rusty_vault", "--version", RUSTY_VAULT, "--locked", "--quiet", "--root", root,
            "--target-dir", root / "build")
        shutil.rmtree(root / "build")
    server = Server(f"RustyVault {RUSTY_VAULT}, token look-up", stack)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.port = free.getsockname()[1]
    configuration = server.directory / "config.hcl"
    configuration.write_text(
        f'storage "file" {{\n  path = "{server.directory}/data"\n}}\n'
        f'listener "tcp" {{\n  address = "127.0.0.1:{server.port}"\n  tls_disable = "true"\n}}\n'
        f'log_level = "error"\npid_file = "{server.directory}/pid"\n')
    server.spawn(root / "bin" / "rvault", "server", f"--config={configuration}")
    wait(server.port, server)
    made = call(server.port, "PUT", "/v1/sys/init", {}, {"secret_shares": 1, "secret_threshold": 1})
    call(server.port, "PUT", "/v1/sys/unseal", {}, {"key": made["keys"][0]})
    create = post("/v1/auth/token/create", f"x-rustyvault-token: {made['root_token']}\r\n",
                  {"policies": ["default"], "ttl": "24h"})
    tokens = [made["auth"]["client_token"] for made in ask_each(server.port, create, 200)]
    server.requests = [get("/v1/auth/token/lookup-self", f"x-rustyvault-token: {token}\r\n") for token in tokens]
    return server


def packages():
    """The folder of Node's packages, made from what the lockfile pins."""
    work = PEERS / "node"
    lock = (HERE / "package-lock.json").read_text()
    made_from = work / "made-from"
    if not made_from.exists() or made_from.read_text() != lock:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / file, work)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=work)
        made_from.write_text(lock)
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, work)
    return work


def version(package):
    return json.loads((packages() / "node_modules" / package / "package.json").read_text())["version"]


def node(script, name, stack, has_database=True):
    server = Server(name, stack)
    environment = {"NODE_ENV": "production"}
    if has_database:
        server.database = Postgres(server.directory / "postgres")
        server.database.start()
        # Its connections inherit the core.
        os.sched_setaffinity(server.database.process.pid, {0})
        environment["DATABASE_URL"] = server.database.url()
    return server.told(server.spawn("node", packages() / script, str(CREDENTIALS), **environment))


def express(stack):
    return node("express.mjs", f"Express {version('express')} with PostgreSQL", stack)


def better_auth(stack):
    return node("better-auth.mjs", f"better-auth {version('better-auth')}, API keys in PostgreSQL", stack)


def better_auth_in_memory(stack):
    return node("better-auth.mjs", f"better-auth {version('better-auth')}, API keys in memory", stack, has_database=False)


PRODUCTS = [
    ("RustyVault", rusty_vault, 10),
    ("Express", express, 45),
    ("better-auth", better_auth, 100),
    # Nobody keeps keys so; it shows what is left without any database.
    ("better-auth in memory", better_auth_in_memory, None),
]


def ask_each(port, request, status):
    """Sends one request for each credential that is to be made, and gives the documents that are answered."""
    def some(_):
        documents = []
        with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
            for _ in range(CREDENTIALS // CONNECTIONS + 1):
                connection.sendall(request)
                first = answers.readline()
                if not first.startswith(f"HTTP/1.1 {status} ".encode()):
                    raise Misbehaved(f"not {status}: {first}")
                length = 0
                while (line := answers.readline().lower()) != b"\r\n":
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                documents.append(json.loads(answers.read(length)))
        return documents

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(itertools.chain.from_iterable(pool.map(some, range(CONNECTIONS))))[:CREDENTIALS]


def load(server, seconds):
    """Asks on all connections, a request after each answer, from core 1. The number of answers, all of them admissions."""
    script = server.directory / "requests.lua"
    if not script.exists():
        lines = ",\n".join(json.dumps(request.decode()) for request in server.requests)
        script.write_text(f"local requests = {{{lines}}}\nlocal next = 0\n"
                          "request = function() next = next % #requests + 1 return requests[next] end\n")
    done = subprocess.run(
        ["taskset", "--cpu-list", "1", "wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", str(seconds),
         "--script", script, f"http://127.0.0.1:{server.port}"], capture_output=True, text=True, check=False)
    answers = re.search(r"(\d+) requests in", done.stdout)
    if not answers or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise Misbehaved(f"{server.name}: {done.stdout}{done.stderr}")
    return int(answers[1])


def refuses(server):
    """A request that differs in the last digit of its credential must not be admitted."""
    request = server.requests[0]
    last = request.rindex(b"\r\n\r\n") - 1
    other = b"0" if request[last:last + 1] != b"0" else b"1"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request[:last] + other + request[last + 1:])
        answer = connection.recv(65536)
    if answer.split(b" ")[1] not in (b"401", b"403"):
        raise Misbehaved(f"{server.name} admits a wrong credential: {answer[:200]}")


def measure(servers):
    micros = {server.name: [] for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            load(server, WARM_SECONDS)
            before = server.cpu()
            answers = load(server, SECONDS)
            micros[server.name].append((server.cpu() - before) / answers * 1e6)
    return micros


def main():
    if len(os.sched_getaffinity(0)) < 2:
        print("not measured P16: needs two cores, one for the server and one for who asks")
        return 0
    if not shutil.which("wrk"):
        print("not measured P16: needs wrk, of which Debian has a package")
        return 0
    stack, servers, missing = [], [], []
    try:
        own = countersign(stack)
        for name, make, goal in PRODUCTS:
            print(f"preparing {name}", flush=True)
            try:
                servers.append((name, make(stack), goal))
            except (OSError, Misbehaved, subprocess.SubprocessError) as problem:
                missing.append(name)
                print(f"not measured P16 beside {name}: {problem}")
        everybody = [own, *(server for _, server, _ in servers)]
        for server in everybody:
            refuses(server)
        micros = measure(everybody)
    finally:
        for server in reversed(stack):
            server.stop()
    mine = micros[own.name]
    reached = []
    print("<!-- figures: P16 -->")
    print("| product | CPU a check, µs | of Countersign's | wanted |\n| --- | --- | --- | --- |")
    print(f"| {own.name} | {statistics.median(mine):.1f} | 1 | – |")
    for name, server, goal in servers:
        ratio = statistics.median(theirs / ours for theirs, ours in zip(micros[server.name], mine))
        reached.append(f"{ratio:.1f} × ({name})")
        wanted = f"≥ {goal} ×" if goal else "reported"
        print(f"| {server.name} | {statistics.median(micros[server.name]):.0f} | {ratio:.1f} × | {wanted} |")
    print(f"\nUser and system time of all of a server's processes, medians of {ROUNDS} rounds of {SECONDS} s in turns. "
          f"{CREDENTIALS} credentials each, {CONNECTIONS} kept connections, every answer an admission. "
          "Servers and their databases on one core, who asks on another."
          + (f" Not to be had: {', '.join(missing)}." if missing else ""))
    print("<!-- end of figures: P16 -->")
    print(f"reached P16: {', '.join(reached)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
