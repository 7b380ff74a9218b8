"""Generate text from a language model, one character at a time."""

from __future__ import annotations

import numpy as np

from evoprune.common.checks import instance, number, whole
from evoprune.common.renames import spelled
from evoprune.nets.network import Network

__all__ = ["generate", "vocabulary_of"]


@spelled
def generate(
    network: Network,
    prompt: str | None = None,
    length: int = 500,
    *,
    temperature: float = 0.8,
    top: int = 0,
    seed: int = 0,
    vocabulary: str | None = None,
) -> str:
    """Continue a text with a language model; the same seed gives the same text.

    Args:
        network: a language model, which reads codes (context,) and returns logits (context,
            vocabulary), such as `charlm`.
        prompt: the text to continue, at least one character; its last `context` characters are
            read. By default a newline if the vocabulary has one, else its first character.
        length: number of characters to generate.
        temperature: divisor of the logits; 0 always takes the most probable character.
        top: draw only among this number of most probable characters; 0: among all.
        seed: seed of the draws.
        vocabulary: characters in the order of their codes; by default the network's `classes`.

    Returns:
        The generated characters, without the prompt.

    Raises:
        ValueError: the prompt is empty, a character is not in the vocabulary, or the network does
            not return finite logits (context, vocabulary).
    """
    instance("network", network, Network)
    letters = vocabulary if vocabulary is not None else vocabulary_of(network)
    if not isinstance(letters, str) or not letters:
        raise ValueError("vocabulary: must be given for a network whose classes are not characters")
    length, top = whole("length", length, 0), whole("top", top, 0)
    seed = whole("seed", seed, 0, 2**64 - 1)
    if prompt is None:
        prompt = "\n" if "\n" in letters else letters[0]
    temperature = number("temperature", temperature, 0, 1e6)
    context = int(np.prod(network.spec["input"]))
    codes = []
    for at, letter in enumerate(prompt):
        if letter not in letters:
            raise ValueError(f"prompt: character {letter!r} at {at} is not in the vocabulary")
        codes.append(letters.index(letter))
    if not codes:
        raise ValueError("prompt: expected at least one character")
    random = np.random.default_rng(whole("seed", seed, 0, 2**63 - 1))
    start = len(codes)
    window = np.zeros((1, context), np.int64)
    for _ in range(length):
        seen = codes[-context:]
        window[0, : len(seen)] = seen  # the model is causal: later values do not matter
        logits = network.predict(window)
        if logits.shape != (1, context, len(letters)):
            raise ValueError(
                f"network: expected logits of shape ({context}, {len(letters)}) for a sample, "
                f"got {logits.shape[1:]}"
            )
        if not np.isfinite(logits[0, len(seen) - 1]).all():
            raise ValueError("network: expected finite logits, got NaN or infinity")
        codes.append(_draw(logits[0, len(seen) - 1].astype(np.float64), temperature, top, random))
    return "".join(letters[code] for code in codes[start:])


def vocabulary_of(network: Network) -> str | None:
    """Return a language model's characters in the order of their codes; None for other models."""
    names = network.classes or ()
    speaks = len(network.form().output) > 1 and names and all(len(name) == 1 for name in names)
    return "".join(names) if speaks else None


def _draw(
    logits: np.ndarray[tuple[int], np.dtype[np.float64]],
    temperature: float,
    top: int,
    random: np.random.Generator,
) -> int:
    """Draw one code with the probabilities softmax(logits / temperature); see `generate`."""
    if not np.isfinite(logits).all():
        raise ValueError("network: expected finite logits, got NaN or infinity; it has diverged")
    if temperature == 0:
        return int(logits.argmax())
    if 0 < top < len(logits):
        logits = np.where(logits < np.sort(logits)[-top], -np.inf, logits)
    chances = np.exp((logits - logits.max()) / temperature)
    return int(random.choice(len(chances), p=chances / chances.sum()))
