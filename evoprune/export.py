"""Networks for other programs: ONNX models, C files, programs of PyTorch."""

from evoprune.bridges.export import c, onnx, torch

__all__ = ["c", "onnx", "torch"]
