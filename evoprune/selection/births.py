"""`Births`: settings of births of populations during training, for `Selection(births=...)`."""

from __future__ import annotations

from typing import Any

from evoprune.core.spec import Spec, define

__all__ = ["BirthSettings", "Births"]


class BirthSettings(Spec):
    """Settings of births. If rate is a number x, it is stored as rate="number", number=x."""

    group, home = "births", "evoprune.selection.births"

    def __init__(self, rate: Any = None, **settings: Any) -> None:
        if isinstance(rate, int | float) and not isinstance(rate, bool):
            settings["number"], rate = rate, "number"
        if rate is not None:
            settings["rate"] = rate
        super().__init__(**settings)


Births = define(BirthSettings, "births", "rate")
