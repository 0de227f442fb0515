"""Vela's file for an application with TensorFlow Lite Micro: as a C array, and the list of its operators.

    model_vela.c, model_vela.h     the file's bytes, aligned to 16
    model_vela_operators.h         C++: the operator resolver that the file needs

Nothing of it was executed here, and each file says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.targets import EthosUTarget
from train.artefact import sha256_file, write_text

BYTES_PER_LINE = 16
NOT_EXECUTED = "Compiled and decoded, not executed."
RESOLVERS = {"ethos-u": "AddEthosU"}  # Vela's operator -> TFLM's method; nets with others are refused

HEADER = """\
/* {what}
   {not_executed} */
#ifndef MODEL_VELA_H
#define MODEL_VELA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* Vela counts {sram_bytes} bytes of SRAM for tensors; TFLM's own structures come on top. */
#define MODEL_VELA_TENSOR_BYTES {sram_bytes}
#define MODEL_VELA_BYTES {size}

extern const uint8_t model_vela[MODEL_VELA_BYTES];

#ifdef __cplusplus
}}
#endif

#endif
"""

SOURCE = """\
/* {what}
   {not_executed} */
#include "model_vela.h"

__attribute__((aligned(16))) const uint8_t model_vela[MODEL_VELA_BYTES] = {{
{rows}
}};
"""

OPERATORS = """\
/* {what}
   {not_executed} */
#ifndef MODEL_VELA_OPERATORS_H
#define MODEL_VELA_OPERATORS_H

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

/* All operators of the file: {names}. */
constexpr int kModelVelaOperators = {count};

inline TfLiteStatus AddModelVelaOperators(tflite::MicroMutableOpResolver<kModelVelaOperators>& resolver) {{
{calls}
    return kTfLiteOk;
}}

#endif
"""


def write_tflm_sources(path: Path, target: EthosUTarget, operators: Sequence[str], *, sram_bytes: int) -> None:
    """Write the three files beside Vela's file."""
    content = path.read_bytes()
    starts = range(0, len(content), BYTES_PER_LINE)
    calls = [
        f"    if (resolver.{RESOLVERS[name]}() != kTfLiteOk) {{\n        return kTfLiteError;\n    }}"
        for name in operators
    ]
    values = {
        "what": f"{path.name} for {target.name} ({target.system_config}, {target.memory_mode}), "
        f"SHA-256 {sha256_file(path)}; made by repedge.",
        "not_executed": NOT_EXECUTED,
        "sram_bytes": sram_bytes,
        "size": len(content),
        "rows": "\n".join(f"    {', '.join(map(str, content[at : at + BYTES_PER_LINE]))}," for at in starts),
        "names": ", ".join(operators),
        "count": len(operators),
        "calls": "\n".join(calls),
    }
    for name, template in (
        ("model_vela.h", HEADER),
        ("model_vela.c", SOURCE),
        ("model_vela_operators.h", OPERATORS),
    ):
        write_text(path.with_name(name), template.format(**values))
