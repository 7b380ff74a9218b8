"""Every type of input and target is read with the right values or refused with one clear error."""

from __future__ import annotations

import input_types
import pytest

for library in input_types.NEEDED:
    pytest.importorskip(library)

INPUTS, TARGETS = input_types.input_cases(), input_types.target_cases()


@pytest.mark.filterwarnings("ignore")  # from pandas and other libraries
@pytest.mark.parametrize("case", INPUTS, ids=lambda case: case.name)
def test_inputs_are_read_right_or_refused(case):
    assert "wrong" not in input_types.input_outcomes(case)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", TARGETS, ids=lambda case: case.name)
def test_targets_are_read_right_or_refused(case):
    assert "wrong" not in input_types.target_outcomes(case)


@pytest.mark.filterwarnings("ignore")
def test_the_page_says_what_is_taken():
    page = input_types.PAGE.read_text()
    assert input_types.filled(page) == page, "run python tests/input_types.py"
    assert page.count("| yes | yes | yes |") >= 30
