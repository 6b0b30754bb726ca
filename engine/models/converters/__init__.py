"""Foreign weights in, ONNX model folders out."""
