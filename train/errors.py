"""The exception tree. Every message says what was found, what is allowed, and what to do.

It lives in the lowest room because every room raises from it; `exit_code` is what the command line returns.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Base of every error that the command line reports as one clear message."""

    exit_code = 2


class ConfigError(PipelineError):
    """The recipe, a flag or a target file says something that is not allowed."""


class DataError(PipelineError):
    """A data set is missing, truncated, empty or of another shape than the recipe says."""


class ArtefactError(PipelineError):
    """A file of an artefact folder is missing, truncated, altered or of another recipe."""


class UnsupportedLayer(PipelineError):
    """A layer that the integer model cannot express (grouped convolution, another kernel size …)."""


class Mismatch(PipelineError):
    """A back end did not give the integers of the reference; `exit_code` 1, because a proof failed."""

    exit_code = 1


class BudgetExceeded(PipelineError):
    """A limit of the budget is broken; `exit_code` 1."""

    exit_code = 1


class ToolMissing(PipelineError):
    """An external program is not installed; the message names its Debian or Python package."""

    exit_code = 3


class ToolFailed(PipelineError):
    """An external program ended with an error; the message holds the tail of its output."""

    exit_code = 3


class TrainingDiverged(PipelineError):
    """The loss became NaN or infinite."""
