"""Learn a rare class with class weights, a loss in Python, and a search for a learning rate."""

import numpy as np

import evoprune as ep

random = np.random.default_rng(0)
x = random.normal(size=(3000, 10)).astype(np.float32)
y = (x[:, 0] + x[:, 1] * x[:, 2] > 2.2).astype(np.int64)
train, test = ep.datasets.arrays(x, y, classes=["usual", "rare"]).split(0.3, seed=0, stratify=True)
print(f"{np.mean(train.y):.1%} and {np.mean(test.y):.1%} of the samples are rare")


@ep.loss(target="class")
def focal(logits, classes):
    """Return the focal losses (n,) and their gradient with respect to `logits` (n, classes).

    The loss is cross-entropy times (1 - q)^2, where q is the probability of the right class, so
    that samples predicted well count little.
    """
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    right = np.eye(logits.shape[1])[classes]
    q = np.clip((p * right).sum(axis=1, keepdims=True), 1e-7, 1)
    slope = (2 * (1 - q) * q * np.log(q) - (1 - q) ** 2) * (right - p)
    return -((1 - q) ** 2 * np.log(q))[:, 0], slope


search = ep.find_learning_rate(ep.Trainer(ep.mlp(10, 64, 2, seed=0)), train, batch_size=32)
rate = min(search.suggestion, 1e-2)
print(f"learning rate {rate:.2g}")
for name, loss, weights in (
    ("cross-entropy", "cross_entropy", None),
    ("the same, balanced", "cross_entropy", "balanced"),
    ("focal, balanced", focal, "balanced"),
):
    network = ep.mlp(10, 64, 2, seed=0)
    optimizer = ep.AdamW(ep.schedules.one_cycle(rate))
    trainer = ep.Trainer(network, loss=loss, optimizer=optimizer)
    history = trainer.fit(
        train,
        epochs=30,
        batch_size=32,
        validation_data=test,
        class_weights=weights,
        metrics=["balanced_accuracy", "auc"],
        training_metrics=True,
        callbacks=ep.EarlyStopping("validation_auc", patience=10, restore=True),
        progress=False,
    )
    best = int(np.argmax(history["validation_auc"]))
    scores = (history[f"{part}_balanced_accuracy"][best] for part in ("training", "validation"))
    print("{}: balanced accuracy {:.1%} and {:.1%},".format(name, *scores),
          f"{sum(network.alive.values())} of 64 alive")  # fmt: skip
