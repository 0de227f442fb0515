"""What the frameworks' own schemas ask of an exported library's metadata, as far as it concerns what an export writes.

Each function returns what it finds wrong, one line per problem. The facts were read in
arduino/arduino-lint at f8104a9d, `etc/schemas/arduino-library-properties-definitions-schema.json` (specification level),
platformio/platformio-core at 145142ea, `platformio/assets/schema/library.json`,
zephyrproject-rtos/zephyr, `scripts/schemas/module-schema.yaml` at 3a39d0ac and `scripts/schemas/twister/testsuite-schema.yaml`
at c25a5761,
espressif/idf-component-manager at df795261, `idf_component_tools/manifest/schemas.py`,
Open-CMSIS-Pack/Open-CMSIS-Pack-Spec at f34f91d0, `schema/PACK.xsd` and the specification's rule for the name of the .pdsc file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlparse
from xml.etree import ElementTree

import yaml

SEMANTIC_VERSION = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
ARDUINO_CATEGORIES = {
    "Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage",
    "Data Processing", "Other",
}  # fmt: skip
ARDUINO_NAME = r"(([a-zA-Z][a-zA-Z0-9 _.\-]*)|([0-9][a-zA-Z0-9 _.\-]*[a-zA-Z][a-zA-Z0-9 _.\-]*))*"
ARDUINO_KEYS = {
    "name", "version", "author", "maintainer", "email", "sentence", "paragraph", "category", "url", "architectures",
    "depends", "dot_a_linkage", "includes", "precompiled", "ldflags",
}  # fmt: skip
TWISTER_KEYS = {
    "arch_allow", "arch_exclude", "build_only", "build_on_all", "depends_on", "extra_args", "extra_configs", "filter",
    "harness", "harness_config", "integration_platforms", "min_flash", "min_ram", "platform_allow", "platform_exclude",
    "platform_type", "skip", "slow", "sysbuild", "tags", "timeout", "toolchain_allow", "toolchain_exclude", "type",
}  # fmt: skip
PACK_ELEMENTS = {
    "name", "vendor", "description", "url", "repository", "supportContact", "license", "licenseSets", "requirements",
    "releases", "changelogs", "keywords", "conditions", "components", "examples", "taxonomy", "apis", "boards", "devices",
}  # fmt: skip
PACK_CATEGORIES = {
    "doc",
    "header",
    "include",
    "library",
    "object",
    "source",
    "linkerScript",
    "utility",
    "image",
    "other",
}
PACK_NAME = r"[\-_A-Za-z0-9]+"
PACK_CSUB = r"([A-Za-z0-9][A-Za-z0-9_+():/\- .]*)?"
PACK_CORES = {
    "Cortex-M0", "Cortex-M0+", "Cortex-M1", "Cortex-M3", "Cortex-M4", "Cortex-M7", "Cortex-M23", "Cortex-M33",
    "Cortex-M35P", "Cortex-M52", "Cortex-M55", "Cortex-M85",
}  # fmt: skip


def _unless(condition: object, problem: str) -> list[str]:
    return [] if condition else [problem]


def arduino_problems(folder: Path) -> list[str]:
    """library.properties, and where the header and the examples are looked for."""
    lines = [line for line in (folder / "library.properties").read_text().splitlines() if line]
    values = dict(line.split("=", 1) for line in lines)
    required = ("name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures")
    found = [f"{key}: missing" for key in required if key not in values]
    found += [f"{key}: unknown" for key in values if key not in ARDUINO_KEYS]
    values = dict.fromkeys(required, "") | values
    found += _unless(0 < len(values["name"]) <= 63 and re.fullmatch(ARDUINO_NAME, values["name"]), "name")
    found += _unless(not values["name"].lower().startswith("arduino"), "name: reserved")
    found += _unless(re.fullmatch(SEMANTIC_VERSION, values["version"]), "version")
    found += [f"{key}: empty" for key in ("author", "maintainer", "sentence", "architectures") if not values[key]]
    found += _unless(values["category"] in ARDUINO_CATEGORIES, "category")
    found += _unless(urlparse(values["url"]).scheme, "url: no URI")
    found += [
        f"{name}: no such header"
        for name in values.get("includes", "").split(",")
        if not (folder / "src" / name).is_file()
    ]
    for sketch in (folder / "examples").rglob("*.ino"):
        found += _unless(sketch.stem == sketch.parent.name, f"{sketch.name}: a sketch has its folder's name")
    return found


def platformio_problems(folder: Path) -> list[str]:
    """library.json and the example's project."""
    content = json.loads((folder / "library.json").read_text())
    found = [f"{key}: missing" for key in ("name", "version", "description", "keywords") if key not in content]
    found += _unless(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", content["name"]) and len(content["name"]) <= 50, "name")
    found += _unless(re.fullmatch(SEMANTIC_VERSION, content["version"]) and len(content["version"]) <= 20, "version")
    found += _unless(len(content["description"]) <= 255, "description: too long")
    found += [f"keyword {word}" for word in content["keywords"] if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", word)]
    headers = content["headers"] if isinstance(content["headers"], list) else [content["headers"]]
    found += [f"{name}: no such header" for name in headers if not (folder / "include" / name).is_file()]
    for example in content["examples"]:
        found += [
            f"{name}: no such file" for name in example["files"] if not (folder / example["base"] / name).is_file()
        ]
    return found


def zephyr_problems(folder: Path) -> list[str]:
    """zephyr/module.yml and each sample.yaml."""
    module = yaml.safe_load((folder / "zephyr/module.yml").read_text())
    found = [
        f"module.yml: {key}" for key in module if key not in ("name", "build", "tests", "samples", "boards", "blobs")
    ]
    found += _unless(isinstance(module["name"], str), "module.yml: name")
    found += [
        f"module.yml: build.{key}" for key in module["build"] if key not in ("cmake", "kconfig", "depends", "settings")
    ]
    found += _unless((folder / module["build"]["cmake"] / "CMakeLists.txt").is_file(), "build.cmake: no CMakeLists.txt")
    found += _unless((folder / module["build"].get("kconfig", "missing")).is_file(), "build.kconfig: no such file")
    found += [f"{name}: no such folder" for name in module["samples"] if not (folder / name).is_dir()]
    samples = sorted(folder.rglob("sample.yaml"))
    found += _unless(samples, "no sample.yaml")
    for path in samples:
        content = yaml.safe_load(path.read_text())
        found += [f"{path.name}: {key}" for key in content if key not in ("common", "sample", "tests")]
        found += _unless(isinstance(content["sample"].get("name"), str), f"{path.name}: sample.name")
        for name, test in content["tests"].items():
            found += _unless(re.fullmatch(r"[a-zA-Z0-9_.]+", name), f"{path.name}: test {name}")
            found += [f"{path.name}: {name}.{key}" for key in test if key not in TWISTER_KEYS]
    return found


def esp_idf_problems(folder: Path) -> list[str]:
    """idf_component.yml."""
    content = yaml.safe_load((folder / "idf_component.yml").read_text())
    found = _unless(re.fullmatch(SEMANTIC_VERSION, str(content["version"])), "version")
    found += [
        f"{key}: no text" for key in ("description", "license") if not isinstance(content[key], str) or not content[key]
    ]
    for name, wanted in content["dependencies"].items():
        found += _unless(re.fullmatch(r"([a-z\d_-]+/)?[a-z\d_-]+", name), f"dependency {name}")
        found += _unless(wanted is None or re.fullmatch(r"[\d.*<>=~^, ]+", wanted), f"dependency {name}: {wanted}")
    if "url" in content:
        found += _unless(content["url"].startswith(("http://", "https://")), "url")
    return found


def cmsis_pack_problems(folder: Path) -> list[str]:
    """The one .pdsc file: its name, its elements and every file it names."""
    (path,) = folder.glob("*.pdsc")
    root = ElementTree.parse(path).getroot()
    text = {child.tag: (child.text or "").strip() for child in root}
    found = _unless(
        path.name == f"{text.get('vendor')}.{text.get('name')}.pdsc", "the file is not named vendor.name.pdsc"
    )
    found += _unless(re.fullmatch(r"\d+\.\d+(\.\d+)?", root.get("schemaVersion", "")), "schemaVersion")
    found += [f"{tag}: unknown element" for tag in text if tag not in PACK_ELEMENTS]
    found += [f"{tag}: missing" for tag in ("name", "vendor", "description", "url", "releases") if tag not in text]
    found += [f"{tag}: characters" for tag in ("name", "vendor") if not re.fullmatch(PACK_NAME, text.get(tag, ""))]
    found += _unless(0 < len(text.get("description", "")) <= 256, "description: 1 to 256 characters")
    found += [
        f"release {entry.get('version')}"
        for entry in root.iter("release")
        if not re.fullmatch(SEMANTIC_VERSION, entry.get("version", ""))
    ]
    found += [
        f"{entry.get('Dcore')}: no such core" for entry in root.iter("accept") if entry.get("Dcore") not in PACK_CORES
    ]
    conditions = {entry.get("id") for entry in root.iter("condition")}
    for component in root.iter("component"):
        found += [f"component: no {key}" for key in ("Cclass", "Cgroup", "Cversion") if not component.get(key)]
        sub = component.get("Csub", "")
        found += _unless(len(sub) <= 32 and re.fullmatch(PACK_CSUB, sub), "Csub")
        found += _unless(component.get("condition", "") in {"", *conditions}, "component: unknown condition")
    for entry in root.iter("file"):
        found += _unless(entry.get("category") in PACK_CATEGORIES, f"{entry.get('name')}: category")
        found += _unless(
            entry.get("language", "c") in ("asm", "c", "cpp", "c-cpp", "link"), f"{entry.get('name')}: language"
        )
        found += _unless((folder / entry.get("name", "")).exists(), f"{entry.get('name')}: no such file")
    found += _unless((folder / text.get("license", "")).is_file(), "license: no such file")
    return found


RULES = {
    "arduino": arduino_problems,
    "platformio": platformio_problems,
    "zephyr": zephyr_problems,
    "esp-idf": esp_idf_problems,
    "cmsis-pack": cmsis_pack_problems,
}
