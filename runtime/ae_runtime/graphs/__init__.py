"""What an ONNX graph may hold, and what it needs, read before onnxruntime sees it."""
