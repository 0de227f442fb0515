"""One invocation of the pipeline: what all stages are given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from repedge.progress import Progress
from repedge.recipe import Recipe
from repedge.stages import RunFolder, claim_run_folder
from train.dataset import Dataset, load_dataset


@dataclass(frozen=True)
class Run:
    """One invocation: the recipe, its folder and the flags that change per run."""

    recipe: Recipe
    folder: RunFolder
    data_dir: Path | None
    device: str
    resume: bool
    force: bool
    progress: Progress

    @cached_property
    def dataset(self) -> Dataset:
        """The recipe's data set, read once for all stages."""
        return load_dataset(self.recipe.data, self.data_dir)

    def claim(self) -> None:
        """Take the folder; called once the inputs of the first stage were found good."""
        claim_run_folder(self.folder, self.recipe.name, self.recipe.to_yaml())
