"""The NPU: Qualcomm's HTP, through the plugin of ONNX Runtime."""
