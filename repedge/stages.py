"""The stage runner: train, convert, deploy, report, each in its own folder of the run, redone only where needed.

A stage's key is the hash of all its result depends on: its part of the recipe, the files it reads and the product's
own source. A stage whose finished folder carries the same key is left alone.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import repedge
from repedge.folder_lock import lock_folder, locked_folder
from train.artefact import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    remove_temporaries,
    sha256_json,
    verify_files,
    write_text,
)
from train.errors import ArtefactError, ConfigError, PipelineError

ROOT = Path(repedge.__file__).parent.parent
RECIPE_FILE = "recipe.yaml"
REPORTS = ("report.json", "report.html", "report.md")
SOURCES = ("*.py", "*.c", "*.h", "*.S", "*.in", "CMakeLists.txt", "*.json", "*.npz")


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its stages: `train/`, `convert/`, `deploy/<target>/`, `report.json`, `report.html`."""

    path: Path

    @property
    def train(self) -> Path:
        """Checkpoints and logs."""
        return self.path / "train"

    @property
    def imported(self) -> Path:
        """A checkpoint file from elsewhere as a training folder."""
        return self.path / "imported"

    @property
    def convert(self) -> Path:
        """The integer model, its vectors and every exported format."""
        return self.path / "convert"

    def tuning(self, target: str) -> Path:
        """The records of a target's schedule search."""
        return self.path / "tune" / f"{Path(target).stem}.json"

    def deploy(self, target: str) -> Path:
        """One back end's build, profile and result."""
        return self.path / "deploy" / Path(target).stem


def source_hash(*rooms: str) -> str:
    """Hash of the source files of some rooms, so that a changed kernel or writer redoes its stage."""
    digest = hashlib.sha256()
    for room in rooms:
        files = sorted({path for pattern in SOURCES for path in (ROOT / room).rglob(pattern) if path.is_file()})
        for path in files:
            digest.update(path.relative_to(ROOT).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def stage_key(**parts: object) -> str:
    """Key of a stage from named JSON values."""
    return sha256_json(parts)


def check_run_folder(path: Path, name: str, *, force: bool) -> RunFolder:
    """The run's folder, nothing written yet; one that holds another recipe's run or other files is refused."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path}: a file of that name exists; give a folder")
    if path.is_dir():
        lock_folder(path)
    if path.is_dir() and any(path.iterdir()) and not force:
        owner = _recipe_name(path / RECIPE_FILE)
        if owner != name:
            held = f"the run of recipe {owner}" if owner else "files that are not a run of repedge"
            raise ConfigError(
                f"--out {path}: holds {held}, asked for is {name}; give another folder, or --force to replace it"
            )
    return RunFolder(path)


def claim_run_folder(folder: RunFolder, name: str, recipe_yaml: str) -> None:
    """Make the folder this recipe's: what another recipe's run left there goes, `recipe.yaml` is written."""
    folder.path.mkdir(parents=True, exist_ok=True)
    lock_folder(folder.path)
    remove_temporaries(folder.path, (RECIPE_FILE, *REPORTS))
    owner = _recipe_name(folder.path / RECIPE_FILE)
    if owner is not None and owner != name:
        _clear_run(folder.path)
    write_text(folder.path / RECIPE_FILE, recipe_yaml)


def _recipe_name(marker: Path) -> str | None:
    """The `name:` of a run folder's recipe.yaml, None where there is none."""
    if not marker.is_file():
        return None
    lines = marker.read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("name:")), None)


def _clear_run(path: Path) -> None:
    """Remove what a run of repedge wrote, and nothing else."""
    for name in ("train", ".train.partial", "imported", "convert", "deploy", "tune"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in (RECIPE_FILE, *REPORTS):
        (path / name).unlink(missing_ok=True)


def finished(folder: Path, key: str) -> Manifest | None:
    """The manifest of a stage that was finished with this key and whose files are all unaltered, else None."""
    if not (folder / MANIFEST_NAME).is_file():
        return None
    try:
        manifest = read_manifest(folder)
        if manifest.key != key:
            return None
        verify_files(folder, manifest)
    except ArtefactError:
        return None
    return manifest


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; it takes that name when the block ends well.

    When it does not, the logs of external tools move to `<folder>.failed-logs` and nothing else stays.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    failed_logs = folder.with_name(f"{folder.name}.failed-logs")
    shutil.rmtree(failed_logs, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    with locked_folder(partial):
        try:
            _empty(partial)
            yield partial
        except BaseException as error:
            _keep_logs(partial, failed_logs, error)
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)


def _empty(folder: Path) -> None:
    """Remove what an earlier command that was killed left."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _keep_logs(partial: Path, failed_logs: Path, error: BaseException) -> None:
    """Move the logs, as far as there is space, and let the error name where they are now."""
    with suppress(OSError):
        for log in partial.rglob("*.log"):
            failed_logs.mkdir(exist_ok=True)
            shutil.move(log, failed_logs / log.name)
            if isinstance(error, PipelineError):
                error.args = (str(error).replace(str(log), str(failed_logs / log.name)),)


def run_stage(folder: Path, key: str, work: Callable[[Path], Manifest]) -> tuple[Manifest, bool]:
    """(manifest, whether it was redone): the finished stage as it stands, or `work` in a fresh folder."""
    manifest = finished(folder, key)
    if manifest is not None:
        return manifest, False
    with fresh_folder(folder) as partial:
        manifest = work(partial)
    return manifest, True
