"""Records the first five minutes: runs the commands below and writes quickstart.cast (asciicast v2) and quickstart.svg.

`make transcript`. What the commands print is kept as it is; the pace is ours, one line each 0.1 s, and the picture leaves out
the middle of long outputs. `--picture` only draws the recording again.
"""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

DOCS = Path(__file__).parent
COMMANDS = (
    "repedge run recipes/quickstart.yaml",
    "repedge export runs/quickstart my-lib --as cmake --core m4",
    "cmake -S my-lib -B my-lib/build > build.log && cmake --build my-lib/build > build.log",
    "qemu-system-arm -M mps2-an386 -display none -monitor none -serial null "
    "-semihosting-config enable=on,target=native -kernel my-lib/build/example.elf",
)
COLUMNS, SECONDS = 132, 0.1
HEAD, TAIL = 1, 40  # lines of an output that the picture shows
LINE, CHARACTER, MARGIN = 17, 7.23, 14


def record(command: str, folder: Path, shims: Path) -> list[str]:
    """The lines that a command prints, in a folder that is as the project's root."""
    environment = os.environ | {"PATH": f"{shims}:{os.environ['PATH']}", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"{command}: ended with {done.returncode}\n{done.stdout}")
    return done.stdout.rstrip("\n").split("\n") if done.stdout else []


def main() -> None:
    """Record unless `--picture` is given, then draw what was recorded."""
    cast = DOCS / "quickstart.cast"
    if "--picture" not in sys.argv:
        cast.write_text(_cast(_recorded(DOCS.parent)))
    (DOCS / "quickstart.svg").write_text(_svg(_outputs(cast.read_text())))


def _recorded(root: Path) -> list[tuple[str, list[str]]]:
    """Each command with its lines, run in a folder that has the project's recipes and runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shims = folder / "bin"
        shims.mkdir()
        (shims / "repedge").write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m repedge.cli "$@"\n')
        (shims / "repedge").chmod(0o755)
        (root / "runs").mkdir(exist_ok=True)
        for part in ("recipes", "runs"):
            (folder / part).symlink_to(root / part)
        return [(command, record(command, folder, shims)) for command in COMMANDS]


def _outputs(cast: str) -> list[tuple[str, list[str]]]:
    """The commands and lines of a recording."""
    outputs: list[tuple[str, list[str]]] = []
    for line in cast.splitlines()[1:]:
        text = json.loads(line)[2].removesuffix("\r\n")
        if text.startswith("$ "):
            outputs.append((text[2:], []))
        else:
            outputs[-1][1].append(text)
    return outputs


def _cast(outputs: list[tuple[str, list[str]]]) -> str:
    """asciicast v2: a header, then [seconds, "o", text] a line."""
    lines = [f"$ {command}" if first else text for command, texts in outputs for first, text in _typed(command, texts)]
    header = {"version": 2, "width": COLUMNS, "height": 40, "title": "RepEdge: the quickstart"}
    events = [[round(SECONDS * number, 1), "o", f"{text}\r\n"] for number, text in enumerate(lines)]
    return "\n".join(json.dumps(entry, ensure_ascii=False) for entry in [header, *events]) + "\n"


def _typed(command: str, texts: list[str]) -> list[tuple[bool, str]]:
    return [(True, command), *((False, text) for text in texts)]


def _svg(outputs: list[tuple[str, list[str]]]) -> str:
    """A terminal whose lines appear one after the other; still where motion is unwanted."""
    rows: list[tuple[str, str]] = []
    for command, texts in outputs:
        shown = texts if len(texts) <= HEAD + TAIL else [*texts[:HEAD], "  ⋮", *texts[-TAIL:]]
        rows += [("command", text) for text in textwrap.wrap(f"$ {command}", COLUMNS, subsequent_indent="    ")]
        rows += [*(("", text) for text in shown), ("", "")]
    width, height = round(COLUMNS * CHARACTER + 2 * MARGIN), LINE * len(rows) + 2 * MARGIN
    body = "".join(
        f'<text class="{kind}" x="{MARGIN}" y="{MARGIN + LINE * (number + 1) - 4}" style="animation-delay:{SECONDS * number:.1f}s">'
        f"{html.escape(text[:COLUMNS])}</text>\n"
        for number, (kind, text) in enumerate(rows)
        if text
    )
    style = (
        "text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d7dde6;white-space:pre;"
        "animation:show .2s both}.command{fill:#7cc4ff;font-weight:600}@keyframes show{from{opacity:0}}"
        "@media (prefers-reduced-motion:reduce){text{animation:none}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="The quickstart in a terminal"><style>{style}</style><rect width="100%" height="100%" rx="8" fill="#12161c"/>\n'
        f"{body}</svg>\n"
    )


if __name__ == "__main__":
    main()
