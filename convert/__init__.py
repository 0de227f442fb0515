"""Conversion: exact merge, lowering to the integer model, its reference, and the ONNX, TFLite, TVM and C writers."""
