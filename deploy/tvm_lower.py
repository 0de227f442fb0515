"""TensorIR kernels as plain C functions: an object file whose functions take pointers only.

TVM's own build wraps each kernel in a packed function that needs its runtime. Here the buffers become pointers before
lowering and the wrapping passes are left out, so that the object file needs nothing but memset and memcpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import s_tir, tirx

from convert.tvm_module import KernelCall
from train.artefact import atomic_path

TargetOptions = Mapping[str, Any]  # TVM's target as a dictionary: kind llvm, mtriple, mcpu, mattr


def _with_pointers(kernel: tirx.PrimFunc, symbol: str) -> tirx.PrimFunc:
    """The same function taking one pointer per buffer, without aliasing."""
    pointers, declarations = [], []
    for buffer in kernel.params:
        pointer = tirx.Var(buffer.name, tvm.ir.PointerType(tvm.ir.PrimType(str(buffer.ty.dtype)), "global"))
        pointers.append(pointer)
        declarations.append(tirx.DeclBuffer(buffer, data=pointer))
    body = tirx.SeqStmt([*declarations, kernel.body])
    function = tirx.PrimFunc(pointers, body, None, kernel.attrs)
    return function.with_attr("global_symbol", symbol).with_attr("tirx.noalias", True)


def _lowering() -> tvm.ir.transform.Pass:
    """TVM's CPU pipeline from TensorIR to loops over flat buffers; allocations stay on the stack."""
    return tvm.ir.transform.Sequential(
        [
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.StmtSimplify(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.FlattenBuffer(),
            tirx.transform.NarrowDataType(32),
            s_tir.transform.LoopPartition(),
            tirx.transform.VectorizeLoop(True),
            tirx.transform.StorageRewrite(),
            tirx.transform.UnrollLoop(),
            s_tir.transform.RenormalizeSplitPattern(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            tirx.transform.CommonSubexprElim(),
            tirx.transform.LowerIntrin(),
        ]
    )


def write_kernels_object(calls: tuple[KernelCall, ...], options: TargetOptions, path: Path) -> None:
    """Compile every kernel for the target into one object file; its functions are the calls' symbols."""
    target = tvm.target.Target(dict(options))
    target = target.with_host(target)
    functions = {call.symbol: _with_pointers(call.kernel, call.symbol) for call in calls}
    module = tirx.transform.BindTarget(target)(tvm.IRModule(functions))
    compiled = tvm.get_global_func("target.build.llvm")(_lowering()(module), target)
    with atomic_path(path) as temporary:
        compiled.write_to_file(str(temporary), "o")
