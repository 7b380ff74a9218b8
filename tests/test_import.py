"""Importing the package is quick and imports no heavy modules."""

from __future__ import annotations

import scripts


def test_importing_is_quick_and_light():
    code = """
        import sys, time
        begin = time.perf_counter()
        import evoprune
        took = time.perf_counter() - begin
        heavy = {"matplotlib", "tqdm", "safetensors", "pandas", "sklearn", "onnx", "torch"}
        heavy &= set(sys.modules)
        print(took, heavy)
    """
    took, heavy = scripts.run(code).split(maxsplit=1)
    assert heavy.strip() == "set()"
    assert float(took) < 1.5  # 0.3 s on an idle machine
