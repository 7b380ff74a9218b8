"""Compare selection of filters with controls that are given the final shape.

The networks are LeNet-5 on MNIST, and three convolutions of 32, 64 and 128 filters on
Fashion-MNIST. The methods are those of controls.py. "moved" after a name: training images are
shifted at random by up to one pixel along both axes. Settings are chosen on 5,000 validation
images, without shifts; pressures give both runs of selection about the same size. "Two phases":
after `first` epochs, the network that is left is trained for `more` epochs at the learning rate
`later` (schedules.py). A script that was stopped continues when it is started again. EVOPRUNE_DATA
names the folder that has fashion-mnist/.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import lab
from controls import CHOSEN_BY, MASSES, Method, Setting, Task, script
from jobs import Job
from schedules import from_scratch, gradual, one_cut, replay, selection, uniform


@dataclass(frozen=True)
class MovedTask(Task):
    """A table in which methods with "moved" in their names shift the training images."""

    def job_of(self, name: str, setting: Setting, quick: bool, **more: Any) -> Job:
        """Return the job of a method."""
        return super().job_of(name, setting, quick, shift=int("moved" in name), **more)


RATES = [{"rate": rate, "decay": d} for rate, d in ((2e-3, 0.5), (2e-3, 0.1), (4e-3, 0.5))]
SLOW, FAST = {"rate": 1e-3, "decay": 0.1}, {"rate": 4e-3, "decay": 0.1}
LENET = MovedTask(
    Job("lenet5 20-50-500", selection={"pressure": 2.0}),
    {
        "ours": Method(selection, 10),
        "gradual": Method(gradual, 10, "ours", stages=([*RATES, SLOW], [{}, {"end": 0.5}])),
        "from scratch": Method(from_scratch, 10, "ours", settings=RATES[:2]),
        "ours, moved": Method(selection, 32, pressure=2.6, tuned_as="ours"),
        "gradual, moved": Method(gradual, 25, "ours, moved", tuned_as="gradual"),
        "one cut": Method(one_cut, 10, "ours", settings=[RATES[1], SLOW, FAST]),
        "one cut, moved": Method(one_cut, 10, "ours, moved", tuned_as="one cut"),
        "replay": Method(replay, 10, "ours", tuned_as="ours"),
        "uniform": Method(uniform, 10, "ours", tuned_as="gradual"),
        "from scratch, longer": Method(from_scratch, 23, "ours", start=RATES[1], stages=(MASSES,)),
        "from scratch, moved": Method(
            from_scratch, 78, "ours, moved", tuned_as="from scratch, longer"
        ),
    },
    settings=RATES,
    seeds=5,
)

FOUR = [*RATES[:2], SLOW, FAST]
THREE = (CHOSEN_BY, CHOSEN_BY + 1, CHOSEN_BY + 2)
# Three seeds choose the later rate of two phases. One seed had chosen 0.01 for both methods, with
# which one run of selection in ten is bad. The rest of `start` was chosen by one seed (the results
# list these runs): a shorter first phase, a decay of 0.02 and, for gradual pruning, other masses
# and a higher first rate were not better.
AT_FIRST = {**RATES[1], "first": 4, "more": 8, "later": 1e-2}
LATER = [{"later": rate} for rate in (4e-3, 6e-3, 1e-2)]
LESS = [{}, {"decay": 0.02}]
THREE_MASSES = [*MASSES[1:], MASSES[0], {"mass": 5.0}]
CNN = Task(
    Job("cnn 32-64-128", data="fashion-mnist", selection={"pressure": 1.1}),
    {
        "ours": Method(selection, 10),
        "gradual": Method(gradual, 10, "ours", stages=(FOUR, [{}, {"end": 0.5}])),
        "one cut": Method(one_cut, 10, "ours", settings=[RATES[1], FAST]),
        "from scratch, longer": Method(
            from_scratch, 18, "ours", start=RATES[1], stages=(MASSES, [{}, FAST])
        ),
        "ours, two phases": Method(
            selection,
            10,
            start={**RATES[1], "first": 4, "more": 8},
            stages=(LATER,),
            seeds=10,
            chosen_by=THREE,
        ),
        "ours, two phases, one seed": Method(selection, 10, settings=[AT_FIRST], seeds=10),
        "gradual, two phases": Method(
            gradual,
            10,
            "ours, two phases",
            start={**RATES[1], "mass": 2.5, "end": 0.4, "first": 4, "more": 9},
            stages=(LATER,),
            seeds=10,
            chosen_by=THREE,
        ),
        "gradual, two phases, one seed": Method(
            gradual,
            10,
            "ours, two phases",
            settings=[{**AT_FIRST, "mass": 2.5, "end": 0.4, "more": 9}],
            seeds=10,
        ),
        "from scratch, as two phases": Method(
            from_scratch,
            22,
            "ours, two phases",
            start={**FAST, "mass": 2.5},
            stages=([{"rate": r} for r in (4e-3, 6e-3, 1e-2)], THREE_MASSES, LESS),
            seeds=5,
        ),
        "replay, two phases": Method(replay, 10, "ours, two phases", settings=[AT_FIRST], seeds=3),
        "replay": Method(replay, 10, "ours", tuned_as="ours"),
        "uniform": Method(uniform, 10, "ours", tuned_as="gradual"),
        "from scratch": Method(from_scratch, 10, "ours", tuned_as="from scratch, longer"),
    },
    settings=FOUR,
    seeds=3,
)
TASKS = {"controls_lenet": LENET, "controls_cnn": CNN}


if __name__ == "__main__":
    for name, task in TASKS.items():
        lab.main(name, __doc__, partial(script, task))
