"""Right and wrong calls for type checkers: errors are expected in the lines marked as wrong."""

import numpy as np

import evoprune as ep

# ---- right -----------------------------------------------------------------------------------

net = ep.Sequential(
    [
        ep.filters(8, 3, norm=True, pool=2),
        ep.Conv2d(8, (3, 3), stride=2, padding=[1, 1]),
        ep.BatchNorm(momentum=0.2),
        ep.Populations("gelu", axis=-1),
        ep.Residual(ep.LayerNorm(), ep.neurons(16, "silu"), ep.Dense()),
        ep.Flatten(),
        ep.Dense(units=3, gain=1.0, name="out"),
    ],
    input=(8, 8, 1),
    dtype="float64",
)
weights = net["out.weight"]
nothing = net.get("no such array")
units = ep.Dense(3).units
lifespan: float | None = ep.Malthusian(lifespan=500, growth="raw").lifespan
selection = ep.Selection(1.5, dynamics=ep.Replicator(strength=20.0), fitness=ep.Taylor())
same = selection.replace(pressure=ep.Budget(macs=0.5), fitness=None)
vector = ep.Selection(0.2, upkeep=np.ones(8), niche="network", rest=0.1)
trainer = ep.Trainer(
    net,
    loss=ep.CrossEntropy(label_smoothing=0.1),
    optimizer=ep.AdamW(ep.schedules.warmup(1e-3), weight_decay=0.1, clip=1.0),
    selection=selection,
)
losses = (ep.Huber(delta=2.0), ep.Hinge(), ep.Poisson())
rate = ep.SGD(0.1, nesterov=True).learning_rate


@ep.fitness
def usefulness(signals: dict[str, np.ndarray]) -> np.ndarray:
    worth: np.ndarray = signals["mass"] * signals["activity"]
    return worth


ep.Selection(fitness=usefulness)
ep.Selection(dynamics="replicator", fitness="worth")
ep.Trainer(net, loss="hinge", optimizer="sgd")

# ---- wrong -----------------------------------------------------------------------------------

ep.Dense(unts=3)  # wrong
ep.Dense("three")  # wrong
ep.Dense(3, 4)  # wrong
ep.Embedding()  # wrong
ep.Populations("rleu")  # wrong
ep.neurons(8, "rleu")  # wrong
ep.Malthusian(lifespam=500)  # wrong
ep.Malthusian(growth="fast")  # wrong
ep.Replicator(50.0)  # wrong
ep.Taylor(strength=1.0)  # wrong
ep.AdamW(lr=1e-3)  # wrong
ep.SGD(0.1, nesterov="yes")  # wrong
ep.CrossEntropy(label_smooth=0.1)  # wrong
ep.Selection(presure=1.5)  # wrong
ep.Selection(niche="town")  # wrong
ep.Selection(dynamics="malthusain")  # wrong
ep.Selection(fitness="taylr")  # wrong
ep.Trainer(net, loss="mse")  # wrong
ep.Trainer(net, optimizer="adam")  # wrong
print(ep.Selection(1.5).presure)  # wrong
print(ep.Malthusian().lifespam)  # wrong
ep.schedules.cosine("fast")  # wrong
ep.Sequential([ep.Dense(3)])  # wrong
