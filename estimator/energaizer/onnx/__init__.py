"""ONNX graphs: any network that was exported, as operators on a tape. An optional extra."""
