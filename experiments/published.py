"""Published numbers, for comparison with the results of the scripts.

All numbers are for structured sparsity on MNIST, with the test error at the end of training.
Networks are 784-300-100-10 with input pixels removed too, unless stated; LeNet-5 is that of Caffe
(20-50-800-500).

    L0          Louizos, Welling, Kingma, Learning sparse neural networks through L0, ICLR 2018
    SSL         Wen et al., Learning structured sparsity in deep neural networks, NeurIPS 2016
    SBP         Neklyudov et al., Structured Bayesian pruning, NeurIPS 2017
    VIBNet      Dai et al., Compressing neural networks using the variational information
                bottleneck, ICML 2018
    Group-HS    Yang, Wen, Li, DeepHoyer, ICLR 2020
    paper       Khan & Shah, Pruning as evolution, arXiv 2601.10765 (784-512-256-10)
    game        Shah & Khan, Pruning as a game, arXiv 2512.22106 (784-512-256-10)
"""

from __future__ import annotations

# Share of the 768 populations that is pruned -> accuracy. For 0.5 the source says 88.3 to 88.6 %.
PAPER = {0.35: 0.955, 0.5: 0.8845}

# Method -> (living hidden units, error in percent).
UNITS = {
    "L0": (314, 1.4),
    "SSL": (252, 1.49),
    "SBP": (215, 1.55),
    "VIBNet": (104, 1.6),
    "Group-HS": (56, 1.8),
}

# Method -> (multiply-adds, error in percent).
MACS = {"L0": (69_300, 1.4), "SBP": (48_600, 1.55), "VIBNet": (9_560, 1.6)}

# Label -> (multiply-adds, error in percent) of LeNet-5. The source does not name the methods: a
# label is the shape of the network, or "published" with added spaces that make it unique.
LENET = {
    "published": (1_140_000, 0.75),
    "3-18-284-283": (213_000, 0.86),
    "published ": (130_000, 1.0),
    "published  ": (111_000, 1.1),
}

# Results of "Pruning as a game": (living populations, accuracy).
GAME = ((37, 0.9115), (15, 0.9154))
