"""A Python package that is missing or does not load is a fault of the installation, not of RepEdge."""

from __future__ import annotations

OURS = ("repedge", "train", "convert", "deploy")
# what is imported -> what pip installs, where more than "_" and "-" differs
DISTRIBUTIONS = {
    "ethosu": "ethos-u-vela",
    "google": "protobuf",
    "PIL": "pillow",
    "tvm": "apache-tvm",
    "tvm_ffi": "apache-tvm-ffi",
    "yaml": "PyYAML",
}


def describe_import_error(error: ImportError) -> str | None:
    """The message for a package of others that cannot be imported; None where the module is ours or unknown: a bug."""
    package = (error.name or "").partition(".")[0]
    if not package or package in OURS:
        return None
    name = DISTRIBUTIONS.get(package, package.replace("_", "-"))
    missing = isinstance(error, ModuleNotFoundError) and error.name == package
    found = "not installed" if missing else f"installed, but does not load: {error}"
    return (
        f"Python package {name}: {found}; this step needs it; run `make setup`, or install the pinned version: "
        f"pip install {'' if missing else '--force-reinstall '}-r requirements.txt"
    )
