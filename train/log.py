"""The training log: one JSON line per epoch in log.jsonl, the same numbers as TensorBoard scalars."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from train.artefact import write_text

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class TrainingLog:
    """Starts after `epochs_done` epochs (both phases counted): later lines of an interrupted run are dropped.

    TensorBoard gets one event file, written anew from the kept lines; its own writer would import TensorFlow.
    """

    def __init__(self, folder: Path, *, epochs_done: int) -> None:
        self.path = folder / LOG_FILE
        lines = self.path.read_text().splitlines()[:epochs_done] if self.path.is_file() else []
        write_text(self.path, "".join(f"{line}\n" for line in lines))
        events = folder / TENSORBOARD_FOLDER / "events.out.tfevents.train"
        events.parent.mkdir(exist_ok=True)
        self.events = RecordWriter(events.open("wb"))
        self.epochs = 0
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        for line in lines:
            self._add_scalars(json.loads(line))

    def record(self, facts: dict[str, Any]) -> None:
        """Append one epoch; `facts["phase"]` names the group of its numbers."""
        with self.path.open("a") as handle:
            handle.write(json.dumps(facts, allow_nan=False) + "\n")
        self._add_scalars(facts)

    def close(self) -> None:
        """Finish the TensorBoard file."""
        self.events.close()

    def _add_scalars(self, facts: dict[str, Any]) -> None:
        self.epochs += 1
        values = [
            Summary.Value(tag=f"{facts['phase']}/{name}", simple_value=value)
            for name, value in facts.items()
            if isinstance(value, float)
        ]
        self._write(Event(wall_time=time.time(), step=self.epochs, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        self.events.write(event.SerializeToString())
        self.events.flush()
