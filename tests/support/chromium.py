"""A headless Chromium, driven over a pipe by the DevTools protocol: no driver, no library."""

from __future__ import annotations

import base64
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.poll import until

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--remote-debugging-pipe"),
)
_ANSWER_SECONDS = 30.0


class Chromium:
    """One browser with a page; `complaints` are what the page's console and its policies said."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium")
        assert program, "chromium is not installed: run `make test-page`, which brings it"
        self.complaints: list[str] = []
        self._number = 0
        self._unread = b""
        self._session: str | None = None
        # It leaves files behind, and a socket, whose path has to be short.
        self._leftovers = tempfile.TemporaryDirectory(prefix="chromium-")
        with ExitStack() as theirs:
            reads, self._out = os.pipe()
            self._in, writes = os.pipe()
            for end in (reads, writes):
                theirs.callback(os.close, end)
            # Chromium reads commands at descriptor 3, and answers at 4.
            command = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
            flags = [*_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
            ends = [str(reads), str(writes)]
            self._process = subprocess.Popen(
                ["bash", "-c", command, "bash", *ends, program, *flags],
                pass_fds=(reads, writes),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "HOME": str(folder), "TMPDIR": self._leftovers.name},
            )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._in, selectors.EVENT_READ)
        self._open_page()

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        os.close(self._in)
        os.close(self._out)
        self._leftovers.cleanup()

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'", "the page is loaded")

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """`prefers_color_scheme="dark"` and the like."""
        named = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def run_scripts(self, allowed: bool) -> None:
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, promises waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector: str = "body") -> str:
        found: str = self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return found

    def wait(self, expression: str, what: str, timeout: float = 20.0) -> None:
        until(lambda: bool(self.run(expression)), what, timeout)

    def wait_text(self, text: str, selector: str = "body", timeout: float = 20.0) -> None:
        until(lambda: text in self.text(selector), f"{text!r} in {selector}", timeout)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Enter": 13, "Tab": 9, "ArrowLeft": 37}[key]
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **text,
            )

    def screenshot(self, file: Path) -> None:
        answer = self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            self._note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
        raise AssertionError("unreachable")

    def _open_page(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _messages(self) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            while b"\0" in self._unread:
                one, _, self._unread = self._unread.partition(b"\0")
                yield json.loads(one)
            assert self._selector.select(max(deadline - time.monotonic(), 0)), "no answer"
            data = os.read(self._in, 1 << 20)
            assert data, "Chromium has ended"
            self._unread += data

    def _note(self, message: dict[str, Any]) -> None:
        said = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif message.get("method") == "Runtime.consoleAPICalled" and said["type"] in (
            *("error", "assert"),
        ):
            self.complaints.append(str(said["args"]))
