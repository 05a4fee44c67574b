#!/usr/bin/env python3
"""A real Countersign on fresh data, started for one suite and always stopped.

As a program, `live.py [--database sqlite|postgres] COMMAND [ARGUMENT...]` starts the server, runs COMMAND with
CONFORMANCE_INSTALLATION naming a JSON file that describes it, and checks afterwards that the server behaved: a clean
stop, no panic, no secret in what it wrote, an audit chain that verifies. Its status is the command's, or 1.

As a module, `with Countersign() as server:` gives the same to a suite that restarts the server itself.
Only Python's standard library is needed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import pwd
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 60
STOP_SECONDS = 30
# Every secret that can leave the server in clear; whole ones only, so that a documented prefix in a log is no finding.
SECRETS = re.compile(r"""
    \bcs(?:ec|at)_[0-9A-Za-z]{46}\b      # of service tokens, and management tokens
    | \beyJ[\w-]+\.[\w-]+\.[\w-]+       # API tokens
    | \b[0-9a-z]{32}\.[0-9a-f]{64}\b     # of invites
    | \b[0-9a-f]{37}\b                   # global keys
""", re.VERBOSE)
# What a suite's requests look like in the server's log, whichever dialect it speaks.
REQUEST = re.compile(r"/access/service_tokens|/api/v1/")


class Misbehaved(Exception):
    """The server, or a command of its, did what it must not."""


def binary():
    """The development build that `./test` made; CONFORMANCE_BINARY names another."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return os.environ.get("CONFORMANCE_BINARY", str(target / "debug" / "countersign"))


def clean_environment():
    """The caller's environment without what would configure the server or a client behind the suite's back."""
    mine = ("COUNTERSIGN_", "CLOUDFLARE_", "CF_", "PREFACTOR_", "RUST_LOG", "PG")
    return {name: value for name, value in os.environ.items() if not name.startswith(mine)}


class Lines:
    """Reads a pipe in the background, so that waiting for a line can have an end."""

    def __init__(self, pipe):
        self._queue = queue.Queue()
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe):
        for line in pipe:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def next(self, seconds):
        """The next line, or None at the end of the pipe or of the time."""
        try:
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            return None


class Postgres:
    """A throw-away PostgreSQL from the installed binaries, on a private socket, as the postgres user when we are root."""

    def __init__(self, directory, durable=False):
        self._user = "postgres" if os.geteuid() == 0 else None
        self._directory = pathlib.Path(directory)
        self._durability = [] if durable else ["-c", "fsync=off"]
        self.process = None

    @staticmethod
    def programs():
        """Where the server's programs are: Debian keeps them out of PATH. None where there are none."""
        found = shutil.which("initdb")
        if found:
            return pathlib.Path(found).resolve().parent
        installed = pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")
        newest = sorted(installed, key=lambda path: float(path.parent.parent.name))
        return newest[-1].parent if newest else None

    def start(self):
        programs = self.programs()
        if programs is None:
            raise Misbehaved("PostgreSQL's server programs are not installed")
        self._directory.mkdir(mode=0o700)
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(self._directory, account.pw_uid, account.pw_gid)
            os.chmod(self._directory.parent, 0o711)
        owner = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        data = self._directory / "data"
        options = {"cwd": self._directory, "env": clean_environment(), **owner}
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "countersign", "-A", "trust", "-E", "UTF8", "--no-sync"],
            capture_output=True, text=True, check=False, **options)
        if made.returncode != 0:
            raise Misbehaved(f"initdb failed: {made.stderr}")
        self.process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", self._directory, "-c", "listen_addresses=", *self._durability],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)
        lines = Lines(self.process.stderr)
        said = []
        while (line := lines.next(START_SECONDS)) is not None:
            said.append(line)
            if "ready to accept connections" in line:
                return
        raise Misbehaved("PostgreSQL did not start: " + " / ".join(said))

    def url(self):
        return f"postgres://countersign@localhost/postgres?host={self._directory}"

    def stop(self):
        if self.process and self.process.poll() is None:
            # SIGINT is PostgreSQL's fast shutdown.
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Countersign:
    """One installation and the server on it.

    `installation` is what `init --json` printed; `management`, `gate` and `gate_unix` are where the server listens.
    The first start takes free ports, later starts the same ones, so that a proxy in front finds it again.
    """

    def __init__(self, database="sqlite", serve=()):
        self._database = database
        self._serve = serve
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="countersign-conformance-"))
        self._postgres = None
        self._process = None
        self._written = self._directory / "server.log"
        self._secrets = set()
        self._store = ["--data-dir", str(self._directory / "data")]
        self.gate_unix = str(self._directory / "gate.sock")
        self.management = None
        self.gate = None
        self.installation = None

    def __enter__(self):
        try:
            if self._database == "postgres":
                self._postgres = Postgres(self._directory / "postgres")
                self._postgres.start()
                self._store += ["--database-url", self._postgres.url()]
            self.installation = self.command("init")
            for secret in (self.installation["user"]["api_key"], self.installation["api_token"],
                           self.installation["account_token"]):
                self._secrets.add(secret)
            self.start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self.check()
        finally:
            if kind is not None or sys.exc_info()[0] is not None:
                self._show_log()
            self._clean()

    def command(self, *arguments):
        """Runs one command on the store and returns the JSON document that it prints."""
        done = self.run(*arguments, "--json")
        if done.returncode != 0:
            raise Misbehaved(f"countersign {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def run(self, *arguments):
        """Runs one command on the store, whatever comes of it."""
        return subprocess.run([binary(), *arguments, *self._store], capture_output=True, text=True, check=False,
                              env=clean_environment(), cwd=self._directory, timeout=120)

    def create_token(self, account_id, name, *permissions):
        """A management token of an account, with the id and the token as the command prints them."""
        wanted = [argument for permission in permissions for argument in ("--permission", permission)]
        made = self.command("token", "create", "--account", account_id, "--name", name, *wanted)
        self._secrets.add(made["token"])
        return made

    def create_account(self, name):
        """An account with a zone, a management token that may do everything with service tokens there, and its API token."""
        account = self.command("account", "create", "--name", name)
        self._secrets.add(account["account_token"])
        zone = self.command("zone", "create", "--account", account["id"], "--name", f"{name}.example")
        token = self.create_token(account["id"], name, "Access: Service Tokens Write")
        return {"account_id": account["id"], "account_pfid": account["pfid"], "zone_id": zone["id"],
                "api_token": token["token"], "account_token": account["account_token"]}

    def start(self):
        """Starts the server; returns once it has said where it listens."""
        def address(url):
            return url.split("://")[1] if url else "127.0.0.1:0"
        with open(self._written, "ab") as log:
            self._process = subprocess.Popen(
                [binary(), "serve", *self._store, "--listen", address(self.management),
                 "--gate-listen", address(self.gate), "--gate-unix", self.gate_unix, "--log-level", "trace",
                 *self._serve],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=clean_environment(),
                cwd=self._directory)
        lines = Lines(self._process.stdout)
        bound = {}
        while len(bound) < 3:
            line = lines.next(START_SECONDS)
            if line is None:
                raise Misbehaved(f"the server bound only {bound}, and said no more")
            word, name, url = line.split(" ", 2)
            if word != "listening":
                raise Misbehaved(f"unexpected on standard output: {line}")
            bound[name] = url
        self.management = bound["management"].rstrip("/")
        self.gate = bound["gate"].rstrip("/")

    def stop(self):
        """Asks the server to stop, and wants it to do so in time and with status 0."""
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise Misbehaved(f"the server did not stop within {STOP_SECONDS} s of SIGTERM") from late
        if status != 0:
            raise Misbehaved(f"the server stopped with status {status}")

    def kill(self):
        """Ends the server as a power cut would."""
        self._process.kill()
        self._process.wait()

    def check(self):
        """What must hold after any suite; stops the server."""
        if self._process.poll() is not None:
            raise Misbehaved(f"the server ended by itself, with status {self._process.returncode}")
        self.stop()
        log = self._written.read_text(encoding="utf-8", errors="replace")
        if "panicked at" in log:
            raise Misbehaved("the server panicked; see its log")
        if not REQUEST.search(log):
            raise Misbehaved("the server's log names no request, so looking for secrets in it says nothing")
        self._refuse_secrets("the server's log", log)
        verified = self.run("audit", "verify")
        if verified.returncode != 0:
            raise Misbehaved(f"the audit chain does not verify: {verified.stdout}{verified.stderr}")
        exported = self.run("audit", "export")
        if exported.returncode != 0 or not exported.stdout:
            raise Misbehaved(f"the audit log can't be exported: {exported.stderr}")
        self._refuse_secrets("the audit log", exported.stdout)

    def _refuse_secrets(self, where, text):
        if SECRETS.search(text) or any(secret in text for secret in self._secrets):
            raise Misbehaved(f"{where} holds a secret in clear")

    def _show_log(self):
        if self._written.exists():
            lines = self._written.read_text(encoding="utf-8", errors="replace").splitlines()
            print("--- the end of the server's log", *lines[-40:], sep="\n", file=sys.stderr)

    def _clean(self):
        if self._process and self._process.poll() is None:
            self.kill()
        if self._postgres:
            self._postgres.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def describe(self):
        """What an SDK suite wants to know, as one JSON document."""
        account_id = self.installation["account"]["id"]
        return {
            "binary": binary(),
            "database": self._database,
            "store": self._store,
            "management": self.management,
            "gate": self.gate,
            "account_id": account_id,
            "account_pfid": self.installation["account"]["pfid"],
            "zone_id": self.installation["zone"]["id"],
            "environment_id": self.installation["environment"]["id"],
            "user_id": self.installation["user"]["id"],
            "user_pfid": self.installation["user"]["pfid"],
            "email": self.installation["user"]["email"],
            "api_key": self.installation["user"]["api_key"],
            "api_token": self.installation["api_token"],
            "account_token": self.installation["account_token"],
            "read_token": self.create_token(account_id, "read-only", "Access: Service Tokens Read")["token"],
            "write_token": self.create_token(account_id, "write-only", "Access: Service Tokens Write")["token"],
            "other": self.create_account("other"),
            "crowd": self.create_account("crowd"),
        }


@contextlib.contextmanager
def another_node(store):
    """A second server on a PostgreSQL on which one runs already, named as `describe` names it; it must behave, too."""
    node = Countersign("postgres")
    node._store = store
    try:
        node.start()
        yield node
        node.check()
    finally:
        node._clean()


def end_on_signal(number, _frame):
    """Turns a signal into an exit, so that what was started is stopped."""
    raise SystemExit(128 + number)


def main():
    parser = argparse.ArgumentParser(description="Runs a command against a Countersign of its own.")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    if not asked.command:
        parser.error("no command given")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_on_signal)
    try:
        with Countersign(asked.database) as server, tempfile.NamedTemporaryFile("w", suffix=".json") as described:
            json.dump(server.describe(), described)
            described.flush()
            environment = {**clean_environment(), "CONFORMANCE_INSTALLATION": described.name}
            status = subprocess.run(asked.command, env=environment, check=False).returncode
    except Misbehaved as problem:
        print(f"live server: {problem}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
