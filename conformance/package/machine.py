"""A machine of its own with systemd, made by `boot`: commands run in it, and whatever they do ends with it."""

import json
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
START_SECONDS = 60
COMMAND_SECONDS = 120
# Asks a URL from the machine's own network, and prints what came of it.
ASK = """
import json, sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers=json.loads(sys.argv[2]))
try:
    response = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as refused:
    response = refused
print(json.dumps([response.status, dict(response.headers)]))
"""


class Machine:
    """One machine, from its start to the end of the `with` block. The files of `share` are in its /mnt."""

    def __init__(self, *share):
        self._share = share

    def __enter__(self):
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="countersign-machine-"))
        for file in self._share:
            shutil.copy(file, self._folder)
        self._boot = subprocess.Popen([HERE / "boot", self._folder], stdin=subprocess.DEVNULL)
        try:
            self._init = self._wait_for_init()
            self.ok("until systemctl is-system-running --wait 2>/dev/null | grep -qE 'running|degraded'; do :; done")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait_for_init(self):
        path = self._folder / "init"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if path.exists() and path.read_text():
                return path.read_text().strip()
            if self._boot.poll() is not None:
                raise AssertionError(f"the machine did not start: status {self._boot.returncode}")
            time.sleep(0.01)
        raise AssertionError("the machine did not start in time")

    def __exit__(self, kind, error, trace):
        if kind is not None:
            print(self.run("journalctl --no-pager --lines 30").stdout, file=sys.stderr)
        self._boot.send_signal(signal.SIGTERM)
        self._boot.wait(START_SECONDS)
        shutil.rmtree(self._folder)

    def run(self, command, **environment):
        """Runs a shell command as the machine's root, whatever comes of it."""
        return subprocess.run(
            ["nsenter", "--target", self._init, "--all", "--wdns=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
             "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *(f"{key}={value}" for key, value in environment.items()),
             "bash", "-c", command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=COMMAND_SECONDS)

    def ok(self, command, **environment):
        """What a command says that must succeed."""
        done = self.run(command, **environment)
        if done.returncode != 0:
            raise AssertionError(f"{command}: exit {done.returncode}: {done.stdout}")
        return done.stdout.rstrip("\n")

    def json(self, command, **environment):
        """The JSON document that a command prints."""
        return json.loads(self.ok(command, **environment))

    def ask(self, url, headers=None):
        """Status and headers of the answer to a GET from inside the machine."""
        done = subprocess.run(
            ["nsenter", "--target", self._init, "--net", sys.executable, "-c", ASK, url, json.dumps(headers or {})],
            capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS)
        if done.returncode != 0:
            raise AssertionError(f"{url}: {done.stderr}")
        return json.loads(done.stdout)

    def property(self, name):
        """A property of the service."""
        return self.ok(f"systemctl show countersign --property {shlex.quote(name)} --value")
