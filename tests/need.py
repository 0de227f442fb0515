"""Skipping a test where a program it needs is not installed."""

from __future__ import annotations

import shutil

import pytest

from deploy.tool import DEBIAN_PACKAGES


def need(*tools: str) -> None:
    """Skip the test, naming the first tool that is missing and its Debian package."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian package {DEBIAN_PACKAGES.get(tool, tool)})")
