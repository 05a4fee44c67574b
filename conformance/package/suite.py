"""The Debian package: what is in it, and what becomes of it on a machine with systemd."""

import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# Where programs of administrators are, which not every root has on the path.
os.environ["PATH"] += ":/usr/sbin:/sbin"

import live
import report
from machine import Machine

PACKAGING = live.ROOT / "packaging"
DOCUMENT = (live.ROOT / "docs/packages.md").read_text(encoding="utf-8")
MANAGEMENT = "http://127.0.0.1:8787"
GATE = "http://127.0.0.1:8788"
DATA = "/var/lib/countersign"
# How exposed systemd may call the service, of 10 in its words and of 100 in its arguments.
EXPOSURE_MOST = 15


def output(*command, **options):
    """What a command prints, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout.rstrip("\n")


def build(folder, **environment):
    """The package of the binary under test, made in `folder`."""
    # Uncompressed: the tests wait for it several times.
    path = output(PACKAGING / "deb", live.binary(), folder,
                  env={**os.environ, "DPKG_DEB_COMPRESSOR_LEVEL": "0", **environment})
    return pathlib.Path(path)


def documented(command):
    """A command that docs/packages.md tells people to type."""
    if not re.search(rf"^[$#] {re.escape(command)}$", DOCUMENT, re.MULTILINE):
        raise AssertionError(f"docs/packages.md does not say: {command}")
    return command


INIT = documented("runuser -u countersign -- countersign init --config /etc/countersign/countersign.toml "
                  "--email you@example.com")
START = documented("systemctl enable --now countersign")


def setUpModule():
    global FOLDER, PACKAGE, NEXT
    FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="countersign-package-"))
    unittest.addModuleCleanup(shutil.rmtree, FOLDER)
    PACKAGE = build(FOLDER)
    NEXT = build(FOLDER, DEBREVISION="2")


class Contents(unittest.TestCase):
    """What can be seen without installing it."""

    @classmethod
    def setUpClass(cls):
        cls.root = FOLDER / "root"
        output("dpkg-deb", "--raw-extract", PACKAGE, cls.root)

    def test_the_same_binary_gives_the_same_package(self):
        again = build(FOLDER / "again")
        self.assertEqual(again.name, PACKAGE.name)
        self.assertEqual(hashlib.sha256(again.read_bytes()).hexdigest(), hashlib.sha256(PACKAGE.read_bytes()).hexdigest())

    def test_everything_is_in_its_place(self):
        listed = {}
        for line in output("dpkg-deb", "--contents", PACKAGE).splitlines():
            mode, owner, _, _, _, path = line.split(maxsplit=5)
            self.assertEqual(owner, "root/root", path)
            if not mode.startswith("d"):
                listed[path.removeprefix(".")] = mode
        doc = "/usr/share/doc/countersign/"
        self.assertEqual(listed, {
            "/usr/bin/countersign": "-rwxr-xr-x",
            "/lib/systemd/system/countersign.service": "-rw-r--r--",
            # It may hold a database's password.
            "/etc/countersign/countersign.toml": "-rw-r-----",
            "/usr/share/man/man1/countersign.1.gz": "-rw-r--r--",
            "/usr/share/bash-completion/completions/countersign": "-rw-r--r--",
            "/usr/share/zsh/vendor-completions/_countersign": "-rw-r--r--",
            "/usr/share/fish/vendor_completions.d/countersign.fish": "-rw-r--r--",
            **{doc + name: "-rw-r--r--" for name in ("changelog.gz", "changelog.Debian.gz", "copyright", "notices.gz",
                                                     "sbom.cdx.json", "examples/grafana.json",
                                                     "examples/alerts.yml")}})
        self.assertEqual((self.root / "DEBIAN/conffiles").read_text(), "/etc/countersign/countersign.toml\n")
        output("md5sum", "--check", "--quiet", "DEBIAN/md5sums", cwd=self.root)

    def test_the_control_file_tells_what_it_is(self):
        fields = {name: output("dpkg-deb", "--field", PACKAGE, name)
                  for name in ("Package", "Version", "Depends", "Installed-Size")}
        said = output(live.binary(), "--version")
        self.assertEqual(f"{fields['Package']} {fields['Version']}", f"{said}-1")
        self.assertRegex(fields["Depends"], r"^libc6 \(>= 2\.\d+\), libgcc-s1, ")
        size = (self.root / "usr/bin/countersign").stat().st_size / 1024
        self.assertTrue(size <= int(fields["Installed-Size"]) <= size + 2048, fields["Installed-Size"])

    def test_the_bill_of_materials_is_the_binarys(self):
        bill = json.loads((self.root / "usr/share/doc/countersign/sbom.cdx.json").read_text())
        self.assertIn("countersign-server", {component["name"] for component in bill["components"]})
        notices = output("zcat", self.root / "usr/share/doc/countersign/notices.gz")
        for expected in ("tokio 1.", "serde 1.", "Permission is hereby granted"):
            self.assertIn(expected, notices)

    def test_the_manual_names_every_command(self):
        page = output("zcat", self.root / "usr/share/man/man1/countersign.1.gz")
        listed = re.search(r"^Commands:\n((?:  .*\n)+)", output(live.binary(), "--help"), re.MULTILINE)[1]
        commands = re.findall(r"^  (\S+)", listed, re.MULTILINE)
        self.assertEqual(re.findall(r"^\.It Cm (.*)$", page, re.MULTILINE), commands)
        self.assertNotIn("@", page)

    def test_completions_are_the_binarys_own(self):
        for shell, path in (("bash", "bash-completion/completions/countersign"),
                            ("zsh", "zsh/vendor-completions/_countersign"),
                            ("fish", "fish/vendor_completions.d/countersign.fish")):
            self.assertEqual((self.root / "usr/share" / path).read_text().rstrip("\n"),
                             output(live.binary(), "completions", shell))

    def test_systemd_finds_no_fault_with_the_unit(self):
        unit = self.root / "lib/systemd/system/countersign.service"
        shutil.copy(unit, FOLDER)
        copy = FOLDER / unit.name
        # It looks for the program where it will be.
        copy.write_text(copy.read_text().replace("/usr/bin/countersign", str(self.root / "usr/bin/countersign")))
        self.assertEqual(output("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy), "")
        output("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MOST}", "--no-pager", copy)

    def test_systemd_waits_for_the_drain(self):
        unit = (self.root / "lib/systemd/system/countersign.service").read_text()
        drain = re.search(r"are answered \(for at most (\d+) seconds\)", (live.ROOT / "docs/operations.md").read_text())
        # After the drain, background tasks have a few seconds each.
        self.assertGreaterEqual(int(re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)[1]), int(drain[1]) + 30)


class Life(unittest.TestCase):
    """The package on a machine of its own, one for each test."""

    def setUp(self):
        self.machine = self.enterContext(Machine(PACKAGE, NEXT))
        # If this machine has it, that one begins without.
        self.machine.ok("if getent passwd countersign >/dev/null; then dpkg --purge countersign; "
                        f"rm -rf {DATA}; deluser --system countersign; fi")

    def install(self, package=None):
        return self.machine.ok(f"dpkg --install /mnt/{(package or PACKAGE).name}")

    def installed(self):
        """A machine on which the documented commands were run; what `init` made."""
        self.install()
        made = self.machine.json(f"{INIT} --json")
        self.machine.ok(START)
        self.until_ready()
        return made

    def until_ready(self):
        """The service binds its ports a moment after systemd has started it."""
        self.machine.ok("until journalctl --unit countersign _PID=$(systemctl show -P MainPID countersign) "
                        "--output cat | grep -q '^listening gate-unix'; do :; done")

    def create(self, made, name):
        """A service token, made by a command over HTTP."""
        return self.machine.json(f"countersign service-token create --name {name} --json", COUNTERSIGN_URL=MANAGEMENT,
                                 COUNTERSIGN_API_TOKEN=made["api_token"], COUNTERSIGN_ACCOUNT_ID=made["account"]["id"])

    def verify(self, made, token):
        """What the gate says: the status, and why not."""
        status, headers = self.machine.ask(
            f"{GATE}/verify?account_id={made['account']['id']}",
            {"CF-Access-Client-Id": token["client_id"], "CF-Access-Client-Secret": token["client_secret"]})
        return status, headers.get("countersign-reason")

    def test_installing_starts_nothing_and_makes_no_secret(self):
        # The page shows the most common architecture.
        architecture = output("dpkg", "--print-architecture")
        command = documented(f"apt-get install ./{PACKAGE.name.replace(architecture, 'amd64')}")
        said = self.machine.ok(f"cd /mnt && {command.replace('amd64', architecture)}") + "\n"
        # It tells what the page tells.
        for command in (INIT, START):
            self.assertIn(f"  {command}\n", said)
        self.assertEqual(self.machine.property("ActiveState"), "inactive")
        self.assertEqual(self.machine.run("systemctl is-enabled countersign").stdout, "disabled\n")
        self.assertEqual(self.machine.ok(f"stat -c '%U:%G %a' {DATA}"), "countersign:countersign 700")
        self.assertEqual(self.machine.ok(f"ls -A {DATA}"), "")
        self.assertEqual(self.machine.ok("stat -c '%U:%G %a' /etc/countersign/countersign.toml"), "root:countersign 640")
        self.assertRegex(self.machine.ok("getent passwd countersign"), r":/var/lib/countersign:/usr/sbin/nologin$")
        # Others on the machine can read neither.
        self.assertNotEqual(self.machine.run("runuser -u nobody -- cat /etc/countersign/countersign.toml").returncode, 0)

    def test_it_serves_hardened(self):
        made = self.installed()
        self.assertEqual(self.machine.ask(f"{MANAGEMENT}/readyz")[0], 200)
        self.assertEqual(self.machine.ask(f"{GATE}/readyz")[0], 200)
        token = self.create(made, "deploy")
        self.assertEqual(self.verify(made, token), (200, None))
        self.assertEqual(self.verify(made, {**token, "client_secret": "wrong"}), (401, "invalid"))
        self.assertEqual(self.machine.ok("stat -c '%U:%G %a %F' /run/countersign/gate.sock"),
                         "countersign:countersign 660 socket")

        process = self.machine.ok("cat /proc/$(systemctl show -P MainPID countersign)/status")
        user = self.machine.ok("id -u countersign")
        status = dict(line.split(":\t", 1) for line in process.splitlines() if ":\t" in line)
        self.assertEqual(status["Uid"].split("\t"), [user] * 4)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        for capabilities in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[capabilities], 16), 0, capabilities)
        self.assertIn("SCHED_BATCH", self.machine.ok("chrt --pid $(systemctl show -P MainPID countersign)"))

        # Commands work on the store beside it, and the server knows of the change when they return.
        config = "--config /etc/countersign/countersign.toml"
        self.machine.ok(documented(f"runuser -u countersign -- countersign validate-config {config}"))
        command = documented(f"runuser -u countersign -- countersign doctor {config}")
        found = self.machine.json(f"{command} --json")["checks"]
        ports = [check["message"] for check in found if check["check"].endswith(("port", "socket"))]
        self.assertEqual(["a server runs there, and is ready" in port for port in ports], [True] * 3, ports)
        made_by_command = self.machine.json(
            f"runuser -u countersign -- countersign token create --account {made['account']['id']} --name store "
            f"--permission 'Access: Service Tokens Read' --json {config}")
        status, _ = self.machine.ask(f"{MANAGEMENT}/client/v4/accounts/{made['account']['id']}/access/service_tokens",
                                     {"Authorization": f"Bearer {made_by_command['token']}"})
        self.assertEqual(status, 200)

        self.machine.ok(documented("systemctl stop countersign"))
        self.assertEqual([self.machine.property(name) for name in ("ActiveState", "Result", "ExecMainStatus")],
                         ["inactive", "success", "0"])
        self.assertEqual(self.machine.ok("ls /run/countersign 2>&1 || true"),
                         "ls: cannot access '/run/countersign': No such file or directory")
        said = self.machine.ok("journalctl --unit countersign --output cat")
        self.assertIn("/access/service_tokens", said)
        self.assertIsNone(live.SECRETS.search(said))

    def test_the_service_takes_what_an_administrator_adds(self):
        drop_in = re.search(r"^```ini\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)[1]
        elsewhere = re.search(r"^ReadWritePaths=(.*)$", drop_in, re.MULTILINE)[1]
        self.install()
        self.machine.ok("mkdir /etc/systemd/system/countersign.service.d && "
                        f"printf %s {shlex.quote(drop_in)} >/etc/systemd/system/countersign.service.d/override.conf && "
                        f"install -d -o countersign -m 0700 {elsewhere} && "
                        "sed -i 's/^listen = .*/listen = \"127.0.0.1:443\"/' /etc/countersign/countersign.toml && "
                        f"echo 'database_url = \"sqlite:{elsewhere}/countersign.db\"' >>/etc/countersign/countersign.toml")
        self.machine.ok(INIT)
        self.machine.ok(START)
        self.until_ready()
        self.assertEqual(self.machine.ask("http://127.0.0.1:443/readyz")[0], 200)
        # It may bind a low port, and nothing else that root may.
        process = self.machine.ok("cat /proc/$(systemctl show -P MainPID countersign)/status")
        self.assertIn("CapBnd:\t0000000000000400\n", process)

        # A proxy in the group reaches the socket, and nobody else does.
        reach = ("perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); "
                 "exit !connect(S, sockaddr_un(\"/run/countersign/gate.sock\"))'")
        self.machine.ok(f"runuser -u nobody -G countersign -- {reach}")
        self.assertNotEqual(self.machine.run(f"runuser -u nobody -- {reach}").returncode, 0)

    def test_a_reload_reads_the_settings_again(self):
        def set_level(level):
            self.machine.ok("sed -i '/^log_level/d' /etc/countersign/countersign.toml && "
                            f"echo 'log_level = {level}' >>/etc/countersign/countersign.toml")

        def ask(path):
            self.machine.ask(MANAGEMENT + path)
            return path in self.machine.ok(said)

        said = "journalctl --unit countersign --output cat"
        reload = documented("systemctl reload countersign")
        self.install()
        self.machine.ok(INIT)
        set_level('"warn"')
        self.machine.ok(START)
        self.until_ready()
        before = self.machine.property("MainPID")
        self.assertFalse(ask("/not-logged"))

        # With a mistake in the file all stays as it was.
        set_level("1")
        self.machine.ok(reload)
        self.machine.ok(f"until {said} | grep -q 'cannot be read again'; do :; done")
        self.assertFalse(ask("/still-not-logged"))
        set_level('"info"')
        self.machine.ok(reload)
        self.assertTrue(any(ask(f"/logged-{attempt}") for attempt in range(100)))
        self.assertEqual(self.machine.property("MainPID"), before)

    def test_it_comes_back_after_a_crash(self):
        made = self.installed()
        token = self.create(made, "deploy")
        before = self.machine.property("MainPID")
        self.machine.ok(f"kill -KILL {before}")
        self.machine.ok(f'until [[ $(systemctl show -P MainPID countersign) != @(0|{before}) ]]; do :; done')
        self.until_ready()
        self.assertEqual(self.machine.property("NRestarts"), "1")
        self.assertEqual(self.verify(made, token), (200, None))

    def test_an_upgrade_keeps_settings_data_and_service(self):
        made = self.installed()
        token = self.create(made, "deploy")
        self.machine.ok("echo 'log_format = \"json\"' >>/etc/countersign/countersign.toml")
        before = self.machine.property("MainPID")
        self.machine.ok(documented(f"runuser -u countersign -- countersign backup {DATA}/before-upgrade.backup "
                                   "--config /etc/countersign/countersign.toml"))
        said = self.install(NEXT)
        self.assertNotIn("countersign init", said)
        self.assertEqual(self.machine.ok("dpkg-query --show --showformat '${Version}' countersign")[-2:], "-2")
        self.assertNotEqual(self.machine.property("MainPID"), before)
        self.until_ready()
        self.assertEqual(self.verify(made, token), (200, None))
        self.assertEqual(self.machine.ok("tail -n 1 /etc/countersign/countersign.toml"), 'log_format = "json"')
        self.assertEqual(self.machine.ok("stat -c '%U:%G %a' /etc/countersign/countersign.toml"), "root:countersign 640")
        self.machine.ok("systemctl stop countersign")
        self.install(PACKAGE)
        self.assertEqual(self.machine.property("ActiveState"), "inactive")

    def test_removal_keeps_data_and_so_does_a_purge(self):
        made = self.installed()
        token = self.create(made, "deploy")
        self.machine.ok(documented("apt-get remove --yes countersign"))
        self.assertEqual(self.machine.property("ActiveState"), "inactive")
        self.assertNotEqual(self.machine.run("test -e /usr/bin/countersign").returncode, 0)
        self.machine.ok(f"test -s {DATA}/installation.key -a -s {DATA}/countersign.db")
        self.machine.ok("test -e /etc/countersign/countersign.toml")

        # What comes back is what was there.
        self.assertNotIn("countersign init", self.install())
        self.machine.ok("systemctl start countersign")
        self.until_ready()
        self.assertEqual(self.verify(made, token), (200, None))

        said = self.machine.ok(documented("apt-get purge --yes countersign"))
        self.assertNotEqual(self.machine.run("test -e /etc/countersign").returncode, 0)
        self.assertNotIn("countersign", self.machine.ok("find /etc/systemd -name '*.wants' -exec ls {} +"))
        destroy = documented(f"rm -r {DATA} && deluser --system countersign")
        self.assertIn(f"  {destroy}\n", said + "\n")
        self.machine.ok(f"test -s {DATA}/installation.key")
        self.machine.ok(destroy)
        left = self.machine.ok("find /etc /lib/systemd /run /usr /var -xdev -name '*countersign*' -newer /mnt/init")
        self.assertEqual(left, "")

    def test_a_purge_of_what_was_never_used_leaves_nothing(self):
        self.install()
        said = self.machine.ok("dpkg --purge countersign")
        self.assertNotIn("installation key", said)
        self.assertNotEqual(self.machine.run(f"test -e {DATA}").returncode, 0)
        self.assertNotEqual(self.machine.run("test -e /etc/countersign").returncode, 0)


if __name__ == "__main__":
    sys.exit(report.run(Contents, Life))
