"""Program: `mlw_runner.py STREAMS.npz VALUES.npz`, weight streams of Ethos-U decoded by Vela's own codec.

A process of its own, because the codec ends the whole process where a stream is damaged. Arrays keep their names:
uint8 bytes in, int16 weights out.
"""

from __future__ import annotations

import sys

import numpy as np

if __name__ == "__main__":
    from ethosu import mlw_codec

    with np.load(sys.argv[1]) as archive:
        decoded = {
            name: np.array(mlw_codec.decode(bytearray(archive[name].tobytes())), np.int16) for name in archive.files
        }
    np.savez(sys.argv[2], **decoded)
