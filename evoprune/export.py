"""Export networks for other programs: as ONNX models, C files or PyTorch programs."""

from evoprune.bridges.export import c, onnx, torch

__all__ = ["c", "onnx", "torch"]
