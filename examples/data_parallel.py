"""Train on several processes, each of which computes a share of every batch.

    mpiexec -n 2 python examples/data_parallel.py

Without mpiexec, the script runs in one process and gives the same result up to rounding.
"""

from mpi4py import MPI

import evoprune as ep

world = MPI.COMM_WORLD
train, test = ep.datasets.mnist()
network = ep.mlp(784, 64, 10, seed=0)
selection = ep.Selection(dynamics=ep.Malthusian(lifespan=30), min_age=10)
trainer = ep.Trainer(network, selection=selection, communicator=world)
trainer.fit(train.subset(slice(4000)), epochs=4, validation_data=test, progress=False)
if world.Get_rank() == 0:
    alive = sum(network.alive.values())
    print(f"{world.Get_size()} processes: {alive} of 64 neurons, {network.evaluate(test)}")
    network.save("data_parallel.safetensors")
