"""Add selection to a PyTorch training loop with three lines, numbered below; runs for minutes."""

import numpy as np
import torch
from torch import nn

import evoprune as ep

train, test = ep.datasets.mnist()
x, u = (torch.from_numpy(np.array(part.x)).float() / 255 for part in (train, test))
y, v = (torch.from_numpy(np.array(part.y)).long() for part in (train, test))
model = nn.Sequential(
    nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.5)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10 * len(x) // 128)
evolution = ep.torch.Evolution(model, optimizer, x[:2], ep.Selection(1.5))  # 1: begin selection
for epoch in range(10):
    for rows in torch.randperm(len(x)).split(128):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        accuracy = float((model(u).argmax(1) == v).float().mean())
    evolution.log(validation_accuracy=accuracy)
    print(f"epoch {epoch + 1}: accuracy {accuracy:.2%}, {evolution!r}")
small = evolution.close()  # 2: an ordinary module, with smaller layers
evolution.save("small.safetensors")  # 3: save the small model
print(evolution)
