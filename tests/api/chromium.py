"""A real Chromium, headless, driven over its debugging pipe: no driver and no downloads beside the browser itself."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program() -> str | None:
    """The browser's path, None where there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class BrowserFailed(Exception):
    """The browser refused a command, or did not answer in time."""


class Page:
    """One page of one browser. `errors` collects what its console and its security policy complain about."""

    def __init__(self, profile: Path, *, width: int = 1280, height: int = 900) -> None:
        path = program()
        assert path is not None
        to_read, to_browser = os.pipe()
        from_browser, to_write = os.pipe()
        # The browser reads its commands from descriptor 3 and answers on 4.
        shell = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        command = ["/bin/bash", "-c", shell, "bash", str(to_read), str(to_write), path, "--headless=new"]
        command += [
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-extensions",
        ]
        command += [
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
        ]
        command += [f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(
            command,
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self._writing, self._reading = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.errors: list[str] = []
        self._loaded = 0
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable", {})

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError):
            os.close(self._writing)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._reading)

    def go(self, url: str) -> None:
        """Open an address and wait until it has loaded."""
        before = self._loaded
        self._call("Page.navigate", {"url": url})
        self.wait_loaded(before)

    def wait_loaded(self, before: int) -> None:
        """Until one more page than `before` has loaded."""
        deadline = time.monotonic() + 60.0
        while self._loaded == before:
            self._take(deadline)

    @property
    def loaded(self) -> int:
        """How many pages have loaded so far."""
        return self._loaded

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self._call("Runtime.evaluate", asked)
        if "exceptionDetails" in found:
            raise BrowserFailed(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def until(self, expression: str, *, within_s: float = 30.0) -> Any:
        """The first true value of an expression."""
        deadline = time.monotonic() + within_s
        while not (value := self.run(expression)):
            if time.monotonic() > deadline:
                raise BrowserFailed(f"never true: {expression}")
            time.sleep(0.1)
        return value

    def press(self, key: str, *, text: str = "") -> None:
        """A key as a keyboard sends it: `Tab`, `Enter`, `ArrowLeft`, or a character."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}
        typed = text or ("\r" if key == "Enter" else key if len(key) == 1 else "")
        event = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key.upper()[0]) if len(key) == 1 else 0)}
        self._call("Input.dispatchKeyEvent", {**event, "type": "keyDown", **({"text": typed} if typed else {})})
        self._call("Input.dispatchKeyEvent", {**event, "type": "keyUp"})

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self._call("Input.insertText", {"text": text})

    def emulate(self, *, width: int, height: int, dark: bool = False) -> None:
        """Another screen."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def screenshot(self, path: Path) -> None:
        """The visible part as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", {"format": "png"})["data"]))

    def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60.0
        while True:
            answer = self._take(deadline)
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserFailed(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _take(self, deadline: float) -> dict[str, Any]:
        """The next message; events are noted on the way."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._reading, 1 << 16) if ready else b""
            if not part:
                raise BrowserFailed("the browser does not answer")
            self._buffer += part
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, told: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded += 1
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(told["exceptionDetails"])[:500])
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(told["args"])[:500])
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
