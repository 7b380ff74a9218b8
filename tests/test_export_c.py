"""Networks as C files: compiled without warnings, they return what `predict` returns."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import exported
import numpy as np
import pytest

import evoprune as ep
from evoprune.bridges import c_source
from evoprune.shell import cli

STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-Wconversion"]
STRICT += ["-Wdouble-promotion", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wcast-qual"]


@pytest.fixture(params=["gcc", "clang"])
def compiler(request):
    if not shutil.which(request.param):
        pytest.skip(f"no {request.param} on this machine")
    return request.param


def built(compiler: str, folder: Path, nets: dict[str, ep.Network]) -> ctypes.CDLL:
    """Export networks, each with its name as prefix, and compile them into one library."""
    for name, net in nets.items():
        ep.export.c(net, folder / f"{name}.c", prefix=name)
    files = [folder / f"{name}.c" for name in nets]
    library = folder / "library.so"
    command = [compiler, *STRICT, "-shared", "-fPIC", *files, "-o", library, "-lm"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def predicted(call, x: np.ndarray, shape: tuple[int, ...], codes: bool) -> np.ndarray:
    """Return outputs of a compiled network, computed one sample at a time."""
    x = np.ascontiguousarray(x, np.int32 if codes else np.float32)
    y = np.full((len(x), *shape), np.nan, np.float32)
    for sample, row in zip(x, y, strict=True):
        call(sample.ctypes.data_as(ctypes.c_void_p), row.ctypes.data_as(ctypes.c_void_p))
    return y


def check(library, folder: Path, name: str, net: ep.Network, x: np.ndarray) -> None:
    expected = net.predict(x)
    codes = "const int *x" in (folder / f"{name}.c").read_text()
    got = predicted(getattr(library, f"{name}_predict"), x, expected.shape[1:], codes)
    exported.agree(got, expected)


def test_every_kind_has_a_c_form_or_is_refused(tmp_path):
    assert set(c_source.KINDS) <= set(exported.KINDS)
    exported.refused(c_source.KINDS, "C", lambda net: ep.export.c(net, tmp_path / "net.c"))


def test_compiled_nets_give_the_outputs_of_predict(compiler, tmp_path):
    nets = {name: exported.net(name) for name in exported.NETS}
    library = built(compiler, tmp_path, nets)
    for name, net in nets.items():
        check(library, tmp_path, name, net, exported.inputs(net))


@pytest.mark.parametrize("kind", exported.of_rules(c_source.KINDS))
def test_compiled_layers_of_every_kind_give_the_outputs_of_predict(kind, compiler, tmp_path):
    made = [
        (f"{name}_{'extinct' if extinct else 'whole'}", net, x)
        for extinct in (False, True)
        for name, net, x in exported.of_kind(kind, extinct)
    ]
    library = built(compiler, tmp_path, {name: net for name, net, _ in made})
    for name, net, x in made:
        check(library, tmp_path, name, net, x)


def test_calls_do_not_depend_on_earlier_calls(tmp_path):
    net = exported.net("resnet")
    library = built("cc", tmp_path, {"net": net})
    x = exported.inputs(net)
    shape = (len(net.predict(x)[0]),)
    forward = predicted(library.net_predict, x, shape, False)
    backward = predicted(library.net_predict, x[::-1], shape, False)
    assert np.array_equal(forward, backward[::-1])


def test_codes_outside_the_vocabulary_give_nan(tmp_path):
    net = ep.Sequential([ep.Embedding(5, 4), ep.Dense(3)], input=2)
    library = built("cc", tmp_path, {"net": net})
    got = predicted(library.net_predict, np.array([[1, 5], [-1, 4]]), (2, 3), True)
    exported.agree(got[0, 0], net.predict(np.array([[1, 1]]))[0, 0])
    assert np.isnan(got[0, 1]).all()
    assert np.isnan(got[1, 0]).all()


HARNESS = """
#include <stdio.h>
#include <stdlib.h>
#include "net.c"

int main(void)
{
    /* On the heap, so that a sanitizer sees any step beyond either end. */
    INPUT *x = malloc(PREDICT_INPUTS * sizeof *x);
    float *y = malloc(PREDICT_OUTPUTS * sizeof *y);
    while (fread(x, sizeof *x, PREDICT_INPUTS, stdin) == PREDICT_INPUTS) {
        predict(x, y);
        fwrite(y, sizeof *y, PREDICT_OUTPUTS, stdout);
    }
    free(x);
    free(y);
    return 0;
}
"""


@pytest.mark.parametrize("name", exported.NETS)
def test_nothing_is_read_or_written_outside_its_array(name, tmp_path):
    net = exported.net(name)
    ep.export.c(net, tmp_path / "net.c")
    (tmp_path / "main.c").write_text(HARNESS)
    codes = "const int *x" in (tmp_path / "net.c").read_text()
    of_x = "int" if codes else "float"
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", f"-DINPUT={of_x}"]
    command = ["cc", *STRICT, *checks, "main.c", "-o", "main", "-lm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if "cannot find" in done.stderr:
        pytest.skip("no sanitizers on this machine")
    assert done.returncode == 0, done.stderr
    x = exported.inputs(net)
    expected = net.predict(x)
    given = np.ascontiguousarray(x, np.int32 if codes else np.float32).tobytes()
    ran = subprocess.run([str(tmp_path / "main")], input=given, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    got = np.frombuffer(ran.stdout, np.float32).reshape(expected.shape)
    exported.agree(got, expected)


def test_the_file_states_its_size(tmp_path):
    net = ep.mlp(30, 16, 5)
    ep.export.c(net, tmp_path / "net.c", prefix="small")
    text = (tmp_path / "net.c").read_text()
    weights = 4 * (30 * 16 + 16 + 16 * 5 + 5)
    assert f"#define SMALL_PREDICT_WEIGHT_BYTES {weights}\n" in text
    assert f"#define SMALL_PREDICT_SCRATCH_BYTES {4 * 16}\n" in text
    assert "#define SMALL_PREDICT_INPUTS 30\n" in text
    assert "#define SMALL_PREDICT_OUTPUTS 5\n" in text
    assert "malloc" not in text
    # Every name visible to other files begins with the prefix.
    assert set(re.findall(r"^void (\w+)", text, re.M)) == {"small_predict"}
    statics = re.findall(r"^static (?:const )?\w+ (\w+)", text, re.M)
    assert len(statics) > 3
    assert all(name.startswith("small_") for name in statics)


def test_scratch_is_shared_by_values_that_are_never_needed_together(tmp_path):
    net = ep.mlp(10, *[64] * 8, 3)
    made = c_source.c_source(net, "")
    assert made.scratch_bytes == 4 * 2 * 64  # eight layers; only two outputs are needed at a time


def test_names_of_layers_that_are_no_c_names_are_replaced(tmp_path):
    layers = [ep.Dense(4, name="a b"), ep.Dense(4, name="a*/b"), ep.Dense(2, name="3 é?")]
    net = ep.Sequential(layers, input=3)
    library = built("cc", tmp_path, {"net": net})
    x = np.random.default_rng(0).normal(size=(2, 3))
    exported.agree(predicted(library.net_predict, x, (2,), False), net.predict(x))


def test_codes_and_numbers_may_be_one_input(tmp_path):
    net = exported.mixed()
    library = built("cc", tmp_path, {"net": net})
    x = np.array([[0, 4], [2, 1]], np.float32)
    exported.agree(predicted(library.net_predict, x, (3,), False), net.predict(x))
    odd = predicted(library.net_predict, np.array([[0.5, 1], [1, 2]]), (3,), False)
    assert np.isnan(odd).all(1).tolist() == [True, False]


def test_names_of_layers_never_clash(tmp_path):
    net = exported.oddly_named()
    x = np.random.default_rng(0).normal(size=(2, 4))
    for folder, prefix in (("named", "net"), ("plain", "")):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "net.c"
        ep.export.c(net, file, prefix=prefix)
        command = ["cc", *STRICT, "-shared", "-fPIC", str(file), "-o", str(file.with_suffix(".so"))]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        library = ctypes.CDLL(str(file.with_suffix(".so")))
        call = library.net_predict if prefix else library.predict
        exported.agree(predicted(call, x, (3,), False), net.predict(x))


def test_a_layer_without_populations_left_counts_for_nothing(tmp_path):
    net = ep.Sequential([ep.Residual(ep.neurons(4, "sigmoid"), ep.Dense()), ep.Dense(3)], input=3)
    net.kill("populations1", [0, 1, 2, 3])
    net.compact()
    library = built("cc", tmp_path, {"net": net})
    x = np.random.default_rng(0).normal(size=(2, 3))
    exported.agree(predicted(library.net_predict, x, (3,), False), net.predict(x))


def test_the_command_line_writes_what_the_call_writes(tmp_path, capsys):
    net = exported.net("mlp")
    net.save(tmp_path / "net.safetensors")
    ep.export.c(net, tmp_path / "call.c")
    arguments = [str(tmp_path / "net.safetensors"), str(tmp_path / "shell.c")]
    assert cli.main(["export", *arguments]) == 0
    assert (tmp_path / "shell.c").read_text() == (tmp_path / "call.c").read_text()
    assert re.search(r"shell\.c: [\d,]+ bytes", capsys.readouterr().out)


def test_the_example_trains_exports_compiles_and_agrees(tmp_path):
    example = Path(__file__).resolve().parents[1] / "examples" / "export_c.py"
    done = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(example.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    accuracy, gap = re.search(r"file (0\.\d+)\n.* ([\d.e-]+) of the largest", done.stdout).groups()
    assert float(accuracy) > 0.9
    assert float(gap) < 1e-5


def test_what_cannot_be_exported_is_named(tmp_path, monkeypatch):
    net = ep.mlp(3, 4, 2)
    with pytest.raises(ValueError, match=r"export\.c: expected a C name as prefix, got '2x'"):
        ep.export.c(net, tmp_path / "net.c", prefix="2x")
    monkeypatch.delitem(c_source.KINDS, "dense")
    with pytest.raises(
        ValueError, match=r"export\.c: dense1: a layer of kind 'dense' has no C form"
    ):
        ep.export.c(net, tmp_path / "net.c")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_refused(tmp_path):
    net = ep.mlp(3, 4, 2)
    net["dense1.weight"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"export\.c: expected finite values .* dense1\.weight"):
        ep.export.c(net, tmp_path / "net.c")
    net = ep.mlp(3, 4, 2, dtype="float64")
    net["dense1.weight"][0, 0] = 1e300  # infinite as float32
    with pytest.raises(ValueError, match=r"export\.c: expected finite values .* dense1\.weight"):
        ep.export.c(net, tmp_path / "net.c")
