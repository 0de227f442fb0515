"""Which folders a run is compared with when none is named."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import os, sys
from pathlib import Path
from repedge.neighbours import runs_beside
if os.getuid() == 0:
    os.setuid(65534)
print(runs_beside(Path(sys.argv[1]), "data"))
"""


def test_a_folder_that_the_user_may_not_look_into_is_none_of_its_runs():
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        parent.chmod(0o755)
        closed, own = parent / "closed", parent / "out"
        for folder in (closed, own):
            folder.mkdir()
            (folder / "report.json").write_text("{}")
        closed.chmod(0)
        seen = subprocess.run([sys.executable, "-c", PROGRAM, str(own)], capture_output=True, text=True, check=False)
        closed.chmod(0o755)
    assert (seen.stdout, seen.stderr) == ("([], [])\n", "")
