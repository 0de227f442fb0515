"""An argument parser whose errors name the nearest word that is allowed."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import NoReturn

CHOICE = re.compile(r"invalid choice: '(?P<found>[^']*)' \(choose from (?P<allowed>.*)\)")
UNKNOWN = re.compile(r"unrecognized arguments: (?P<found>-\S+)")


class SuggestingParser(argparse.ArgumentParser):
    """Verbs, choices and options: "did you mean export?"; its verbs' parsers are of the same class."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and the message, with the nearest allowed word in front of the list."""
        super().error(message + self._hint(message))

    def _hint(self, message: str) -> str:
        if match := CHOICE.search(message):
            allowed = re.findall(r"'([^']*)'", match["allowed"])
        elif match := UNKNOWN.search(message):
            allowed = sorted(self._options())
        else:
            return ""
        close = difflib.get_close_matches(match["found"].partition("=")[0], allowed, n=1)
        return f"; did you mean {close[0]}?" if close else ""

    def _options(self) -> set[str]:
        """Every long option, of the verbs too."""
        found: set[str] = set()
        for action in self._actions:
            found |= {flag for flag in action.option_strings if flag.startswith("--")}
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices.values():
                    found |= verb._options()
        return found
