"""Runs under the emulated aarch64 Python: `runs` inferences of one TFLite model on one image, on one thread.

    invoke.py {tflite-runtime|ai-edge-litert} MODEL IMAGE RUNS

IMAGE holds one int8 image. Prints the logits. Instructions of an inference are those of 11 runs less those of 1, over 10.
"""

import sys

import numpy as np

runtime, model, image, runs = sys.argv[1:]
if runtime == "tflite-runtime":
    from tflite_runtime.interpreter import Interpreter
else:
    from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model, num_threads=1)
interpreter.allocate_tensors()
given = interpreter.get_input_details()[0]
interpreter.set_tensor(given["index"], np.fromfile(image, np.int8).reshape(given["shape"]))
for _ in range(int(runs)):
    interpreter.invoke()
print(*interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].tolist())
