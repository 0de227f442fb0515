"""Which commit of the product is running."""

from __future__ import annotations

import shutil
import subprocess

from repedge.stages import ROOT


def git_commit() -> str:
    """The product's commit, with `-dirty` when its tree is changed; `unknown` outside a checkout."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return "unknown"
    result = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
    )
    return result.stdout.strip() or "unknown"
