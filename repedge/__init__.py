"""The command line, the recipe and the stage runner."""

__version__ = "0.1.0"
