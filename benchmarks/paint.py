"""`make bench-page`: when a headless Chromium first paints the master's page, and when that has its
figures, with 500 instances of 20 models. Milliseconds since the page was asked for, of some rounds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from support.app import Up
from support.chromium import Chromium
from support.simulated import Simulated

_MODELS, _EACH, _ROUNDS = 20, 25, 5
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
# The moment at which there is something of this kind.
_SHOWN = (
    "new Promise((done) => {{ const look = () => document.querySelector('{}')?.textContent "
    "? done(performance.now()) : requestAnimationFrame(look); look(); }})"
)
# Views, and where they have figures.
_VIEWS = {"#/": ".tile dd", "#/instances": "tbody th"}


def main() -> int:
    models = [f"model_{number}" for number in range(_MODELS)]
    with ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = own / "config.yaml"
        edges = "".join(
            f"  - {{name: {name}, instance: {_EACH}, edge_mode: my.model, pre_topic: in/{name}, "
            f"post_topic: out/{name}}}\n"
            for name in models
        )
        config.write_text(f"defaults: {{pre_broker: a, post_broker: b}}\nedge:\n{edges}")
        more = ("--run-dir", str(own / "run"))
        master = Up(own, config, *more, command="master", ready=False)
        stack.callback(master.close)
        names = [f"{model}-{number}" for model in models for number in range(1, _EACH + 1)]
        workers = Simulated(own / "run" / "metrics.sock", names)
        stack.callback(workers.close)
        browser = Chromium(own)
        stack.callback(browser.close)
        for view, figures in _VIEWS.items():
            rounds = [_once(browser, f"{master.url}/{view}", figures) for _ in range(_ROUNDS)]
            paint, shown = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{view}: first paint {paint:.0f} ms, with figures {shown:.0f} ms")
    return 0


def _once(browser: Chromium, url: str, figures: str) -> tuple[float, float]:
    browser.open("about:blank")
    browser.call("Network.clearBrowserCache")
    browser.open(url)
    shown = float(browser.run(_SHOWN.format(figures)))
    browser.wait(f"{_PAINT} > 0", "something is painted")
    return float(browser.run(_PAINT)), shown


if __name__ == "__main__":
    sys.exit(main())
