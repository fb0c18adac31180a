"""A headless Chromium that tests steer through its DevTools pipe; the standard library suffices."""

import base64
import fcntl
import json
import os
import select
import shutil
import time

# A machine that is busy with other things answers late.
WAIT_SECONDS = 240.0


def find_chromium():
    """Path of a Chromium or Chrome, None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


class Browser:
    """One browser with one tab; a context manager.

    Attributes:
        messages: Errors and warnings of the console and exceptions of scripts, in order.
    """

    def __init__(self):
        self.messages = []
        self._number, self._replies, self._events, self._rest = 0, {}, [], b""
        self._process, self._to, self._from = _start()
        target = self._call("Target.createTarget", {"url": "about:blank"}, session=False)["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session=False)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._call("Performance.enable", {"timeDomain": "threadTicks"})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.write(self._to, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        for pipe in (self._to, self._from):
            os.close(pipe)
        os.waitpid(self._process, 0)

    def open(self, path, *, width=1280, height=900, dark=False, mobile=False):
        """Opens a file in a screen of this size; returns the seconds until its load event."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self._call("Emulation.setDeviceMetricsOverride", metrics)
        self._go("about:blank")
        self.messages.clear()
        started = time.monotonic()
        self._go(path.absolute().as_uri())
        return time.monotonic() - started

    def _go(self, url):
        self._events.clear()
        self._call("Page.navigate", {"url": url})
        self._until(lambda: any(event["method"] == "Page.loadEventFired" for event in self._events))

    def busy_seconds(self):
        """Processor time that the main thread has taken for the page."""
        metrics = self._call("Performance.getMetrics")["metrics"]
        return {entry["name"]: entry["value"] for entry in metrics}["TaskDuration"]

    def ask(self, script):
        """The value of a JavaScript expression."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        try:
            reply = self._call("Runtime.evaluate", asked)
        except AssertionError as error:
            if "navigated" in str(error) or "context" in str(error):
                return None
            raise
        if "exceptionDetails" in reply:
            raise AssertionError(f"{script}: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    def wait_for(self, script):
        """Waits until a JavaScript expression is true; fails with the expression otherwise.

        A page that is about to be replaced by another counts as false.
        """
        end = time.monotonic() + WAIT_SECONDS
        while not self.ask(f"(() => {{ try {{ return {script} }} catch {{ return false }} }})()"):
            if time.monotonic() > end:
                raise AssertionError(f"never true: {script}; console: {self.messages}")
            time.sleep(0.05)

    def picture(self, path, *, whole=False):
        """Writes a PNG of the window, or of the whole page."""
        taken = self._call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(taken["data"]))

    def _call(self, method, parameters=None, *, session=True):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        number = self._number
        self._until(lambda: number in self._replies)
        reply = self._replies.pop(number)
        if "error" in reply:
            raise AssertionError(f"{method}: {reply['error']}")
        return reply["result"]

    def _until(self, done):
        end = time.monotonic() + WAIT_SECONDS
        # not select(), which takes no descriptor above 1023: a long suite holds as many
        answers = select.poll()
        answers.register(self._from, select.POLLIN)
        while not done():
            if not answers.poll(1000 * max(0.0, end - time.monotonic())):
                raise AssertionError("Chromium does not answer")
            *whole, self._rest = (self._rest + os.read(self._from, 2**20)).split(b"\0")
            for line in whole:
                self._take(json.loads(line))

    def _take(self, message):
        if "id" in message:
            self._replies[message["id"]] = message
            return
        self._events.append(message)
        values = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(values["exceptionDetails"]))
        if message["method"] == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            self.messages.append(json.dumps(values["args"]))
        if message["method"] == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.messages.append(json.dumps(values["entry"]))


def _start():
    """The process's id, and the pipes to and from it, which it knows as 3 and 4."""
    commands, to = os.pipe()
    from_, answers = os.pipe()
    # out of the way of 3 and 4
    moved = [fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, 10) for pipe in (commands, answers)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
    path = find_chromium()
    process = os.posix_spawn(
        path,
        [path, *options, "--remote-debugging-pipe", "about:blank"],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, nowhere, 1),
            (os.POSIX_SPAWN_DUP2, nowhere, 2),
            (os.POSIX_SPAWN_DUP2, moved[0], 3),
            (os.POSIX_SPAWN_DUP2, moved[1], 4),
        ],
    )
    for pipe in (commands, answers, *moved, nowhere):
        os.close(pipe)
    return process, to, from_
