"""Train a small network, export it as one C file, compile it and compare predictions."""

import ctypes
import subprocess

import numpy as np

import evoprune as ep

train, test = ep.datasets.mnist()
net = ep.mlp(784, 64, 32, 10)
selection = ep.Selection(dynamics=ep.Malthusian(lifespan=60), min_age=20)
ep.Trainer(net, optimizer=ep.AdamW(2e-3), selection=selection).fit(train, epochs=2, progress=False)
ep.export.c(net, "digits.c", prefix="digits")
command = ["cc", "-O2", "-shared", "-fPIC", "digits.c", "-o", "digits.so", "-lm"]
subprocess.run(command, check=True)

predict = ctypes.CDLL("./digits.so").digits_predict
x = np.ascontiguousarray(test.x[:1000], np.float32)  # raw pixels: the C code scales them
y = np.empty((1000, 10), np.float32)
for image, logits in zip(x, y, strict=True):
    predict(image.ctypes.data_as(ctypes.c_void_p), logits.ctypes.data_as(ctypes.c_void_p))
gap = np.abs(y - net.predict(x)).max() / np.abs(y).max()
print(f"{sum(net.alive.values())} of 96 neurons alive")
print(f"accuracy of the C file {np.mean(y.argmax(1) == test.y[:1000]):.3f}")
print(f"largest difference from predict {gap:.1e} of the largest logit")
