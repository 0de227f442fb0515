"""Runs under the emulated aarch64 Python: every image through a library that TVM's own runtime loads.

    packed.py LIBRARY IMAGES LOGITS H,W,C

IMAGES holds int8 images, LOGITS becomes the int8 logits, back to back.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
import tvm_ffi

library, images, logits, shape = sys.argv[1:]
runtime = Path(tvm_ffi.__file__).parent.parent / "tvm" / "lib" / "libtvm_runtime.so"
ctypes.CDLL(str(runtime), ctypes.RTLD_GLOBAL)
machine = tvm_ffi.load_module(library)["vm_load_executable"]()
machine["vm_initialization"](1, 0, 2)
given = np.fromfile(images, np.int8).reshape(-1, *map(int, shape.split(",")))
found = [np.from_dlpack(machine["main"](tvm_ffi.from_dlpack(image.copy()))).copy() for image in given]
np.stack(found).tofile(logits)
print(f"tvm_ffi {tvm_ffi.__version__}: {len(found)} images")
