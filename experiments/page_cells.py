"""Text of the cells and lines of docs/paper.md."""

from __future__ import annotations

from typing import Any

Facts = dict[str, Any]


def percent(found: Facts, digits: int = 2) -> str:
    """Return mean and deviation of accuracy over the seeds in percent, as in 98.43 ± 0.05."""
    if "accuracy" not in found:
        return "diverged"
    spread = f" ± {100 * found['deviation']:.{digits}f}" if found.get("seeds", 1) > 1 else ""
    return f"{100 * found['accuracy']:.{digits}f}{spread}"


def shape(found: Facts) -> str:
    """Return the mean numbers of populations by layer, as in 151 + 28."""
    return " + ".join(f"{n:.0f}" for n in found["layers"])


# Column titles for the cells of controls(); "ahead of it" is selection beside gradual pruning.
CONTROLS = ("gradual", "ahead of it", "from scratch", "cut by norm", "at random")


def controls(row: Facts) -> list[str]:
    """Return cells with the results of the controls, for the columns CONTROLS of a table."""
    results = ("gradual", "scratch", "norm", "random")
    cells = [percent(row[of]) if of in row else "-" for of in results]
    gap = f"{100 * row['gradual']['selection_minus_this']:+.2f}" if "gradual" in row else "-"
    return [cells[0], gap, *cells[1:]]


def thousand(number: float) -> str:
    return f"{number / 1000:.1f} k" if number < 1e6 else f"{number / 1e6:.2f} M"


def figure(name: str, alt: str) -> list[str]:
    """Return the lines that show a figure; docs/conf.py defines the directive."""
    return [f"```{{picture}} paper-{name}", alt, "```", ""]


def verdict(asked: str, met: bool, got: str) -> str:
    """Return a line that states whether a target is met."""
    return f"- {asked}: **{'met' if met else 'not met'}**, {got}."


def origin(name: str, facts: Facts) -> str:
    """Return a line with the origin of a section's numbers."""
    machine = facts["machine"]
    commits = sorted({row["commit"][:10] for row in facts["rows"] if row.get("commit")})
    commits = commits or [str(facts.get("commit"))[:10]]
    cpus = sorted({row.get("cpu", machine["cpu"]) for row in facts["rows"]})
    return (
        f"<small>`python experiments/{name}.py`: {' and '.join(cpus)}, "
        f"{machine['processors']} processors, {machine['system']}; core {facts['core']}, commit "
        f"{', '.join(commits)}.</small>\n"
    )
