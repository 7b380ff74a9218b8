"""Compare selection of heads and neurons with controls that are given the final shape.

The networks are a vision transformer on MNIST, and a language model of characters on tiny
Shakespeare, whose result is the loss of the next character in nats. The methods are those of
controls.py; each layer of heads and each layer of neurons is given its number. Settings are chosen
on 5,000 validation images, or the last tenth of the training text. A script that was stopped
continues when it is started again. EVOPRUNE_DATA names the folder that has tiny-shakespeare/.
"""

from __future__ import annotations

from functools import partial

import lab
from controls import MASSES, Method, Task, script
from jobs import Job
from schedules import from_scratch, gradual, one_cut, selection

EPOCHS, TEXT_EPOCHS = 10, 4
RATES = [{"rate": rate, "decay": d} for rate, d in ((1e-3, 0.5), (1e-3, 0.1), (2e-3, 0.1))]
FOUR = [*RATES, {"rate": 3e-3, "decay": 0.1}]

VIT = Task(
    Job("vit", selection={"pressure": 1.5}, batch=64),
    {
        "ours": Method(selection, EPOCHS),
        "gradual": Method(gradual, EPOCHS, "ours", stages=(FOUR[2:], [{}, {"end": 0.5}])),
        "from scratch, longer": Method(
            from_scratch, 13, "ours", start=MASSES[0], stages=(FOUR[2:], MASSES)
        ),
    },
    settings=FOUR,
    seeds=3,
)
CHARACTERS = Task(
    Job("charlm", data="tiny-shakespeare", selection={"pressure": 0.7}, batch=16),
    {
        "ours": Method(selection, TEXT_EPOCHS),
        "gradual": Method(gradual, TEXT_EPOCHS, "ours", stages=(RATES[::2], [{}, {"end": 0.5}])),
        "one cut": Method(one_cut, TEXT_EPOCHS, "ours"),
    },
    settings=RATES[::2],
    seeds=3,
    by="loss",
)
TASKS = {"controls_vit": VIT, "controls_characters": CHARACTERS}


if __name__ == "__main__":
    for name, task in TASKS.items():
        lab.main(name, __doc__, partial(script, task))
