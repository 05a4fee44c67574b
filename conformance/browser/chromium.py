"""A headless Chromium of its own, told what to do over the pipe that it has for that (the Chrome DevTools protocol)."""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PATIENCE = 30
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "ArrowDown": (40, ""), "Home": (36, "")}
SHIFT = 8


class Chromium:
    """One browser with one tab."""

    def __init__(self):
        self._directory = tempfile.mkdtemp(prefix="countersign-chromium-")
        reading, self._out = os.pipe()
        self._in, writing = os.pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self._directory}", "--no-first-run",
                 "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        # The browser wants its pipe at these two numbers.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{reading} 4>&{writing}', "bash", "chromium", *flags, "about:blank"],
            pass_fds=(reading, writing), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(reading)
        os.close(writing)
        self._buffer = b""
        self._calls = 0
        self._session = None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def close(self):
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _receive(self, deadline):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self._in, 1 << 16) if ready else b""
            if not data:
                raise AssertionError("the browser has not answered")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        """One command and its result; what the browser says meanwhile is kept in `events`."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while (answer := self._receive(deadline)).get("id") != self._calls:
            self.events.append(answer)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _loading(self, act):
        """Does something that leads to another page; returns when that is there."""
        self.events.clear()
        act()
        deadline = time.monotonic() + PATIENCE
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive(deadline))

    def open(self, url):
        self._loading(lambda: self.call("Page.navigate", url=url))

    def submit(self):
        self._loading(lambda: self.press("Enter"))

    def press(self, key, modifiers=0):
        code, text = KEYS[key]
        said = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", **said, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **said)

    def type(self, text):
        """Key by key, as a person does."""
        for character in text:
            self.call("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=character)

    def click(self, selector):
        box = self.evaluate(f"(({{ x, y, width, height }}) => [x + width / 2, y + height / 2])"
                            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def evaluate(self, expression):
        said = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in said:
            raise AssertionError(f"{expression}: {said['exceptionDetails']}")
        return said["result"].get("value")

    def text(self, selector):
        """What an element shows; None if there is none, or it is not shown."""
        return self.evaluate(f"((one) => one && one.checkVisibility() ? one.innerText : null)"
                             f"(document.querySelector({json.dumps(selector)}))")

    def focused(self):
        """What has the focus, by its id; a page gives it to something of its own a moment after it has loaded."""
        deadline = time.monotonic() + PATIENCE
        while (name := self.evaluate("document.activeElement.id || document.activeElement.tagName")) == "BODY":
            if time.monotonic() > deadline:
                break
        return name

    def complaints(self):
        """What the page did wrong, as the browser's console has it."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
            elif event.get("method") == "Log.entryAdded" and params["entry"]["source"] != "network":
                found.append(params["entry"]["text"])
        return found
