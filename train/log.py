"""The training log: one JSON line per epoch in log.jsonl, the same numbers for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from train.artefact import write_text

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class TrainingLog:
    """Starts after `epochs_done` epochs (both phases counted): later lines of an interrupted run are dropped."""

    def __init__(self, folder: Path, *, epochs_done: int) -> None:
        self.path = folder / LOG_FILE
        kept = self.path.read_text().splitlines()[:epochs_done] if self.path.is_file() else []
        write_text(self.path, "".join(f"{line}\n" for line in kept))
        self.epochs = len(kept)
        self.writer = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=epochs_done)

    def record(self, facts: dict[str, Any]) -> None:
        """Append one epoch; `facts["phase"]` names the group of its numbers."""
        with self.path.open("a") as handle:
            handle.write(json.dumps(facts, allow_nan=False) + "\n")
        for name, value in facts.items():
            if isinstance(value, float):
                self.writer.add_scalar(f"{facts['phase']}/{name}", value, self.epochs)
        self.writer.flush()
        self.epochs += 1

    def close(self) -> None:
        """Finish the TensorBoard file."""
        self.writer.close()
