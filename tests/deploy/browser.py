"""A page in headless Chromium: what it says on its console, which addresses it asks for, what a script finds in it."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.need import need

SEPARATE = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
NO_ORIGIN = "not an origin"
RESULT = re.compile(r'<pre id="result">(.*?)</pre>', re.DOTALL)


@dataclass(frozen=True)
class Visit:
    """`result` is what the script returned, as JSON; `requests` are all addresses asked for but the page itself."""

    result: object
    console: list[str]
    requests: list[str]


def visit(page: Path, folder: Path, script: str, *, width: int = 1100, dark: bool = False) -> Visit:
    """Load a copy of the page that runs `script` (a function body) at its end, in a frame of `width` pixels."""
    need("chromium")
    copy, outer, log = folder / "copy.html", folder / "outer.html", folder / "net.json"
    found = f"<script>parent.postMessage(JSON.stringify((() => {{ {script} }})()), '*');</script>"
    copy.write_text(page.read_text().replace("</body>", f"{found}</body>"))
    outer.write_text(
        f'<body><iframe src="copy.html" style="border:0;width:{width}px;height:2000px"></iframe><pre id="result"></pre>'
        "<script>onmessage = (event) => { document.getElementById('result').textContent = event.data; };</script></body>"
    )
    options = [*SEPARATE, f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500)},2000"]
    options += [f"--log-net-log={log}", "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]
    # 0 is dark, 1 is light
    options.append(f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    done = subprocess.run(
        ["chromium", *options, outer.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    match = RESULT.search(done.stdout)
    assert match is not None, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Visit(json.loads(html.unescape(match[1])), console, _requests(log, folder))


def _requests(log: Path, folder: Path) -> list[str]:
    """Addresses that pages asked for, by the browser's net log; what the browser asks for by itself has no origin."""
    events = json.loads(log.read_text())["events"]
    asked = [event.get("params", {}) for event in events]
    addresses = {entry["url"] for entry in asked if "url" in entry and entry.get("initiator", NO_ORIGIN) != NO_ORIGIN}
    return sorted(url for url in addresses if not url.startswith(("data:", folder.as_uri())))
