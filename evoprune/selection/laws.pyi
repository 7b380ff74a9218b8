"""Classes of laws.py. Made by tools/make_stubs.py from the core's catalogue."""

from typing import Literal, TypeAlias

from numpy.typing import ArrayLike

from evoprune.selection.groups import Dynamics, Fitness, Loss, Optimizer
from evoprune.selection.schedules import ScheduleLike

__all__ = [
    "SGD",
    "Activity",
    "AdamW",
    "BestResponse",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Gradient",
    "Hinge",
    "Huber",
    "Logistic",
    "LotkaVolterra",
    "Magnitude",
    "Malthusian",
    "Marginal",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Moran",
    "NoDynamics",
    "NoisyGrowth",
    "Poisson",
    "Pull",
    "Relative",
    "Replicator",
    "ReplicatorMutator",
    "SoftCrossEntropy",
    "Taylor",
    "Worth",
    "WrightFisher",
]

LossName: TypeAlias = Literal[
    "cross_entropy",
    "mean_squared_error",
    "binary_cross_entropy",
    "soft_cross_entropy",
    "mean_absolute_error",
    "huber",
    "poisson",
    "hinge",
]
OptimizerName: TypeAlias = Literal["adamw", "sgd"]
FitnessName: TypeAlias = Literal[
    "marginal", "taylor", "relative", "worth", "gradient", "magnitude", "activity", "pull"
]
DynamicsName: TypeAlias = Literal[
    "malthusian",
    "replicator",
    "replicator_mutator",
    "logistic",
    "lotka_volterra",
    "wright_fisher",
    "moran",
    "noisy_growth",
    "best_response",
    "none",
]

class CrossEntropy(Loss):
    """Cross entropy of the softmax of the outputs (nats) with a class, as PyTorch counts it: the mean
    over rows is weighted by the class weights; rows of class -1 are ignored.

    Args:
        label_smoothing: share of the target that is spread evenly over all classes (Szegedy et al.
            2016) (in [0, 0.999]; default 0).
        class_weights: weight of each class, one per output; empty: all 1 (in [0, 1e+09]).
    """
    def __init__(
        self, *, label_smoothing: float = 0.0, class_weights: ArrayLike | None = None
    ) -> None: ...
    @property
    def label_smoothing(self) -> float: ...
    @property
    def class_weights(self) -> tuple[float, ...] | None: ...

class MeanSquaredError(Loss):
    """Mean over the outputs of (y - target)^2, with no factor 1/2. No prediction is right or wrong:
    hits are 0.
    """
    def __init__(self) -> None: ...

class BinaryCrossEntropy(Loss):
    """Mean over the outputs, which are logits, of the cross entropy (nats) of their logistic with
    targets in [0, 1]. A row is right if every output is on its target's side of 1/2.
    """
    def __init__(self) -> None: ...

class SoftCrossEntropy(Loss):
    """Cross entropy (nats) of the softmax of the outputs with shares of the classes, 0 to 1, one for
    each output: soft labels, mixed samples, the outputs of another network. A row is right if its
    largest output is where its largest share is.
    """
    def __init__(self) -> None: ...

class MeanAbsoluteError(Loss):
    """Mean over the outputs of |y - target|. It estimates medians, and large errors count less than in
    the squared error.
    """
    def __init__(self) -> None: ...

class Huber(Loss):
    """Mean over the outputs of half the squared error where it is at most delta, and of delta (|y -
    target| - delta / 2) beyond (Huber 1964).

    Args:
        delta: size of the error above which the loss grows linearly, not quadratically (in [1e-09,
            1e+09]; default 1).
    """
    def __init__(self, *, delta: float = 1.0) -> None: ...
    @property
    def delta(self) -> float: ...

class Poisson(Loss):
    """Mean over the outputs, which are logarithms of expected counts, of e^y - target y: the negative
    log-likelihood (nats) of a Poisson distribution, without the term log target!.
    """
    def __init__(self) -> None: ...

class Hinge(Loss):
    """Mean over the outputs of max(0, margin - y of the class + y of the output), except the class
    itself (Crammer and Singer 2001, summed as PyTorch does); rows of class -1 are ignored.

    Args:
        margin: margin by which the output of the right class should exceed every other (in [1e-09,
            1e+09]; default 1).
    """
    def __init__(self, *, margin: float = 1.0) -> None: ...
    @property
    def margin(self) -> float: ...

class AdamW(Optimizer):
    """Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019): m and v are
    running means of g and g^2, both corrected for their start at zero; value -= rate (m / (sqrt(v)
    + epsilon) + decay value).

    Args:
        learning_rate: learning rate: a number, which falls to 0 along a cosine, or a schedule, see
            evoprune.schedules (default 0.001).
        clip: upper limit of the norm of the whole gradient; 0: no limit (default 0).
        beta1: decay rate of the running mean of the gradient (in [0, 0.999999]; default 0.9).
        beta2: decay rate of the running mean of the squared gradient (in [0, 0.999999]; default
            0.999).
        epsilon: added to the root of the running mean of the squared gradient (in [1e-20, 1];
            default 1e-08).
        weight_decay: decoupled weight decay: value -= rate * decay * value (in [0, 1e+06]; default
            0.5).
    """
    def __init__(
        self,
        learning_rate: ScheduleLike = 0.001,
        *,
        clip: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-08,
        weight_decay: float = 0.5,
    ) -> None: ...
    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...

class SGD(Optimizer):
    """Stochastic gradient descent: m = momentum m + g; value -= rate m (with nesterov: rate (g +
    momentum m)), and decoupled weight decay.

    Args:
        learning_rate: learning rate: a number, which falls to 0 along a cosine, or a schedule, see
            evoprune.schedules (default 0.1).
        clip: upper limit of the norm of the whole gradient; 0: no limit (default 0).
        momentum: factor on the previous step's direction (in [0, 0.9999]; default 0.9).
        nesterov: use Nesterov's momentum (1983) (default False).
        weight_decay: decoupled weight decay: value -= rate * decay * value (in [0, 1e+06]; default
            0).
    """
    def __init__(
        self,
        learning_rate: ScheduleLike = 0.1,
        *,
        clip: float = 0.0,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None: ...
    @property
    def learning_rate(self) -> ScheduleLike: ...
    @property
    def momentum(self) -> float: ...
    @property
    def nesterov(self) -> bool: ...
    @property
    def weight_decay(self) -> float: ...

class Marginal(Fitness):
    """F = -dL/dm: the decrease of the loss per unit of added mass (nats). Selection then descends the
    loss (Rotskoff et al. 2019).
    """
    def __init__(self) -> None: ...

class Taylor(Fitness):
    """F = |m dL/dm|: the first-order change of the loss if the population were removed, whatever its
    sign (Molchanov et al. 2017; Michel et al. 2019).
    """
    def __init__(self) -> None: ...

class Relative(Fitness):
    """F = -m dL/dm: the decrease of the loss per relative growth of mass (nats)."""
    def __init__(self) -> None: ...

class Worth(Fitness):
    """F = -m dL/dm + n (m dL/dm)^2 / 2, for a loss that is a mean of n terms: the rise of the loss
    without the population, to second order (nats). The curvature along its mass is estimated by the
    variance of one term's gradient, n times that of the batch (Fisher information; LeCun et al.
    1990, Theis et al. 2018).
    """
    def __init__(self) -> None: ...

class Gradient(Fitness):
    """F = |dL/dw|: the Euclidean norm of the gradient of the weights the population owns."""
    def __init__(self) -> None: ...

class Magnitude(Fitness):
    """F = |w|: the Euclidean norm of the weights the population owns."""
    def __init__(self) -> None: ...

class Activity(Fitness):
    """F = mean |output|: the mean over the batch of the magnitude of the population's output."""
    def __init__(self) -> None: ...

class Pull(Fitness):
    """F = -<w, dL/dw>: the decrease of the loss per relative growth of the weights the population owns
    (nats).
    """
    def __init__(self) -> None: ...

class Malthusian(Dynamics):
    """m' = m (F - c): mass grows with fitness less upkeep (Malthus 1798). bounded growth: ln m +=
    ln(1/threshold) / lifespan * (F - c) / (|F| + c); raw: m *= exp(h (F - c)).

    Args:
        growth: bounded: growth is the return (F - c) / (|F| + c) paced by lifespan; raw: h (F - c)
            (bounded, raw; default 'bounded').
        lifespan: bounded growth: generations in which a population without fitness falls from birth
            mass 1 to the threshold (to 1e-3 where the threshold is 0); None: a seventh of the
            generations of the run and the time to learn; 700 if the length of the run is unknown
            (in [1, 1e+12]).
        ceiling: largest mass of a population (in [0, 1e+30]; default 5).
        strength: raw growth: h, log-growth per generation for each nat of F - c; None: 10 for a
            lifespan of 700, in proportion for others (in [0, 1e+09]).
        clip: raw growth: bound on |log-growth| per generation; None: 0.2 for a lifespan of 700, in
            proportion for others (in [0, 1e+06]).
    """
    def __init__(
        self,
        *,
        growth: Literal["bounded", "raw"] = "bounded",
        lifespan: float | None = None,
        ceiling: float = 5.0,
        strength: float | None = None,
        clip: float | None = None,
    ) -> None: ...
    @property
    def growth(self) -> Literal["bounded", "raw"]: ...
    @property
    def lifespan(self) -> float | None: ...
    @property
    def ceiling(self) -> float: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def clip(self) -> float | None: ...

class Replicator(Dynamics):
    """x' = x (F - Fbar), x = m / sum m: shares of a constant total follow relative fitness (Taylor &
    Jonker 1978); x <- x e^{hF} / sum, h (F - Fbar) within clip.

    Args:
        strength: h, log-growth per generation for each nat of fitness less upkeep; None: 50 for a
            lifespan of 700, in proportion for others (in [0, 1e+09]).
        clip: bound on |log-growth above the mean| of one generation; None: 0.01 for a lifespan of
            700, in proportion for others (in [0, 1e+06]).
    """
    def __init__(self, *, strength: float | None = None, clip: float | None = None) -> None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def clip(self) -> float | None: ...

class ReplicatorMutator(Dynamics):
    """x_i' = sum_j x_j F_j Q_ji - Fbar x_i: the replicator with mutation between living populations
    (Eigen & Schuster 1977); x <- W x / sum, W_ij = Q_ji e^{h F_j}, h (F - Fbar) within clip.

    Args:
        strength: h, log-growth per generation for each nat of fitness less upkeep; None: 50 for a
            lifespan of 700, in proportion for others (in [0, 1e+09]).
        clip: bound on |log-growth above the mean| of one generation; None: 0.01 for a lifespan of
            700, in proportion for others (in [0, 1e+06]).
        mutation: mu, share of offspring spread evenly over the living populations: Q = (1 - mu) I +
            mu / n (in [0, 1]; default 1e-06).
        kernel: Q_ji, probability that offspring of j is i, founded * founded values by birth id,
            row j by row, each summing to 1; empty: even mutation (in [0, 1]).
    """
    def __init__(
        self,
        *,
        strength: float | None = None,
        clip: float | None = None,
        mutation: float = 1e-06,
        kernel: ArrayLike | None = None,
    ) -> None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def clip(self) -> float | None: ...
    @property
    def mutation(self) -> float: ...
    @property
    def kernel(self) -> tuple[float, ...] | None: ...

class Logistic(Dynamics):
    """m_i' = m_i (r_i - max(rbar, 0) M / K), r = h (F - c): the total grows to the carrying capacity
    (Verhulst 1838) while populations compete for their shares of it. r within clip.

    Args:
        strength: h, log-growth per generation for each nat of fitness less upkeep; None: 20 for a
            lifespan of 700, in proportion for others (in [0, 1e+09]).
        clip: bound on |log-growth| of one generation; None: 0.01 for a lifespan of 700, in
            proportion for others (in [0, 1e+06]).
        capacity: mass the niche can carry, per founding population: K = capacity * founded (in
            [1e-06, 1e+09]; default 1).
    """
    def __init__(
        self, *, strength: float | None = None, clip: float | None = None, capacity: float = 1.0
    ) -> None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def clip(self) -> float | None: ...
    @property
    def capacity(self) -> float: ...

class LotkaVolterra(Dynamics):
    """m_i' = r_i m_i (1 - sum_j a_ij m_j / K), r = h (F - c) > 0; m_i' = r_i m_i where r <= 0:
    competition with populations of similar activity (Lotka 1925, Volterra 1926; step of Leslie &
    Gower 1958).

    Args:
        strength: h, log-growth per generation for each nat of fitness less upkeep; None: 20 for a
            lifespan of 700, in proportion for others (in [0, 1e+09]).
        clip: bound on |log-growth| of one generation; None: 0.01 for a lifespan of 700, in
            proportion for others (in [0, 1e+06]).
        capacity: mass a population alone can reach (given interaction), or mass the niche carries
            per founding population (interaction from overlap) (in [1e-06, 1e+09]; default 1).
        interaction: a_ij, the effect of population j on i, founded * founded values by birth id,
            row by row; empty: the overlap of activities (in [0, 1e+09]).
    """
    def __init__(
        self,
        *,
        strength: float | None = None,
        clip: float | None = None,
        capacity: float = 1.0,
        interaction: ArrayLike | None = None,
    ) -> None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def clip(self) -> float | None: ...
    @property
    def capacity(self) -> float: ...
    @property
    def interaction(self) -> tuple[float, ...] | None: ...

class WrightFisher(Dynamics):
    """N x' ~ Multinomial(N, p), p = x w / wbar, w = e^{h (F - c)}, h (F - Fbar) within clip: selection
    and drift, without overlap of generations (Fisher 1930, Wright 1931).

    Args:
        strength: h, log-growth per generation for each nat of fitness less upkeep; None: 50 for a
            lifespan of 700, in proportion for others (in [0, 1e+09]).
        clip: bound on |log-growth above the mean| of one generation; None: 0.01 for a lifespan of
            700, in proportion for others (in [0, 1e+06]).
        size: individuals per unit of mass: N = size * total mass (in [1e-06, 1e+12]; default
            10000).
    """
    def __init__(
        self, *, strength: float | None = None, clip: float | None = None, size: float = 10000.0
    ) -> None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def clip(self) -> float | None: ...
    @property
    def size(self) -> float: ...

class Moran(Dynamics):
    """deaths at random, births by fitness w = e^{h (F - c) / turnover}, turnover * N of each per
    generation: selection and drift with overlapping generations (Moran 1958).

    Args:
        strength: h, log-growth per generation for each nat of fitness less upkeep; None: 50 for a
            lifespan of 700, in proportion for others (in [0, 1e+09]).
        clip: bound on |log-growth above the mean| of one generation; None: 0.01 for a lifespan of
            700, in proportion for others (in [0, 1e+06]).
        size: individuals per unit of mass: N = size * total mass, at most 2^24 (in [1e-06, 1e+07];
            default 100).
        turnover: share of the individuals replaced in a generation, at least one; None: 0.005 for a
            lifespan of 700, in proportion for others (in [1e-09, 1]).
    """
    def __init__(
        self,
        *,
        strength: float | None = None,
        clip: float | None = None,
        size: float = 100.0,
        turnover: float | None = None,
    ) -> None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def clip(self) -> float | None: ...
    @property
    def size(self) -> float: ...
    @property
    def turnover(self) -> float | None: ...

class NoisyGrowth(Dynamics):
    """dm = m ((F - c) dt + s dW): growth in a noisy environment (Ito), m *= exp((F - c - s^2/2) h + s
    sqrt(h) z), (F - c) h within clip.

    Args:
        strength: h, log-growth per generation for each nat of fitness less upkeep; None: 20 for a
            lifespan of 700, in proportion for others (in [0, 1e+09]).
        clip: bound on |log-growth apart from noise| of one generation; None: 0.01 for a lifespan of
            700, in proportion for others (in [0, 1e+06]).
        noise: s, deviation of ln m after one unit of time (in [0, 100]; default 0.003).
    """
    def __init__(
        self, *, strength: float | None = None, clip: float | None = None, noise: float = 0.003
    ) -> None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def clip(self) -> float | None: ...
    @property
    def noise(self) -> float: ...

class BestResponse(Dynamics):
    """s' = alpha (F - c) - 2 beta |w|^2 s - gamma - eta sum_{j != i} s_j <w_i, w_j>, s in [0, 1]: each
    population climbs its own utility (arXiv 2512.22106).

    Args:
        strength: h, step per generation and unit of dU/ds; None: 1 for a lifespan of 700, in
            proportion for others (in [0, 1e+09]).
        alpha: weight of the benefit F - c (in [0, 1e+09]; default 1).
        beta: cost of large weights, beta |w|^2 s^2 (in [0, 1e+09]; default 0.0001).
        gamma: cost of taking part, gamma s: without benefit, extinct in 1 / (h gamma) generations
            (in [0, 1e+09]; default 0.001).
        eta: cost of similarity to the others, eta s_i s_j <w_i, w_j> (in [0, 1e+09]; default 0).
    """
    def __init__(
        self,
        *,
        strength: float | None = None,
        alpha: float = 1.0,
        beta: float = 0.0001,
        gamma: float = 0.001,
        eta: float = 0.0,
    ) -> None: ...
    @property
    def strength(self) -> float | None: ...
    @property
    def alpha(self) -> float: ...
    @property
    def beta(self) -> float: ...
    @property
    def gamma(self) -> float: ...
    @property
    def eta(self) -> float: ...

class NoDynamics(Dynamics):
    """m' = 0: masses do not change; an ordinary network."""
    def __init__(self) -> None: ...
