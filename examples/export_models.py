"""Train a small network, export it to ONNX and PyTorch, and compare outputs with `predict`."""

import numpy as np
import onnxruntime
import torch

import evoprune as ep

train, test = ep.datasets.mnist()
net = ep.lenet5(seed=0)
selection = ep.Selection(dynamics=ep.Malthusian(lifespan=20), min_age=5)
trainer = ep.Trainer(net, selection=selection)
trainer.fit(train.subset(slice(6000)), epochs=2, progress=False)
x = np.asarray(test.x[:100], np.float32).reshape(-1, 28, 28, 1)  # raw pixels: the models scale them
right = net.predict(x)

ep.export.onnx(net, "lenet.onnx")
session = onnxruntime.InferenceSession("lenet.onnx")
(onnx,) = session.run(["output"], {"input": x})

images = torch.from_numpy(x).permute(0, 3, 1, 2)  # PyTorch has channels first
with torch.no_grad():
    module = ep.to_torch(net)(images).numpy()
    ep.export.torch(net, "lenet.pt2")
    program = torch.export.load("lenet.pt2").module()(images).numpy()
back = ep.from_torch(ep.to_torch(net), input=(1, 28, 28)).predict(x)

print(f"{sum(net.alive.values())} of {sum(net.born.values())} populations alive")
for name, found in (("ONNX", onnx), ("module", module), ("program", program), ("back", back)):
    print(f"{name}: largest difference {np.abs(found - right).max() / np.abs(right).max():.1e}")
