"""Names of an exported library: with a prefix of its own, two models fit into one program.

Every identifier and file name of the interface (`model_`, `MODEL_`) and of the runtime (`repedge_`, `REPEDGE_`) takes the
prefix, so nothing of two libraries meets, whichever kernels, cores or build systems they were exported for.
"""

from __future__ import annotations

import re
from pathlib import Path

from train.errors import ConfigError

DEFAULT = "model"
PATTERN = re.compile(r"[a-z][a-z0-9_]{0,23}")
TEXT_SUFFIXES = (".c", ".h", ".S", ".inc", ".ino")
# a header of these names would stand before the compiler's own
STANDARD_HEADERS = (
    "assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math", "setjmp",
    "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio", "stdlib", "stdnoreturn",
    "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype",
)  # fmt: skip


def check_prefix(prefix: str) -> str:
    """The prefix, where C, file systems and the runtime allow it."""
    if not PATTERN.fullmatch(prefix) or prefix.endswith("_"):
        raise ConfigError(
            f"--prefix {prefix}: no such prefix; allowed are up to 24 of a-z, 0-9 and _, a letter first and no _ last, "
            "for example --prefix digits"
        )
    if prefix in STANDARD_HEADERS or prefix.startswith("repedge"):
        owner = "the runtime's own" if prefix.startswith("repedge") else f"the C library's {prefix}.h"
        raise ConfigError(f"--prefix {prefix}: taken, it is {owner}; allowed is any other name; choose one")
    return prefix


def runtime_prefix(prefix: str) -> str:
    """What stands for `repedge` in the names of the runtime.

    >>> runtime_prefix("model"), runtime_prefix("digits")
    ('repedge', 'digits_repedge')
    """
    return "repedge" if prefix == DEFAULT else f"{prefix}_repedge"


def prefixed(text: str, prefix: str) -> str:
    """Text of C, assembly or a file's name with the library's names under the prefix.

    >>> prefixed('#include "model.h"  // model_init, MODEL_OK, repedge_invoke', "digits")
    '#include "digits.h"  // digits_init, DIGITS_OK, digits_repedge_invoke'
    """
    if prefix == DEFAULT:
        return text
    names = {"model": prefix, "MODEL": prefix.upper(), "repedge": runtime_prefix(prefix)}
    names["REPEDGE"] = names["repedge"].upper()
    return re.sub(
        r"\b(model(?=_|\.[ch]\b)|MODEL(?=_)|repedge(?=_|\.h\b)|REPEDGE(?=_))", lambda match: names[match[1]], text
    )


def prefix_files(folder: Path, prefix: str) -> None:
    """Rename what the sources below `folder` define, and the files themselves."""
    if prefix == DEFAULT:
        return
    for path in sorted(path for path in folder.rglob("*") if path.suffix in TEXT_SUFFIXES):
        path.write_text(prefixed(path.read_text(), prefix))
        path.rename(path.with_name(prefixed(path.name, prefix)))
