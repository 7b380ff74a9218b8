"""File names from columns of a history: "{epoch:03d}-{validation_loss:.3f}.safetensors"."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from string import Formatter

from evoprune.common.checks import meant
from evoprune.common.files import check_folder
from evoprune.common.renames import current_name
from evoprune.records.former import COLUMNS

__all__ = ["Template"]

COUNTS = ("epoch", "step", "alive", "macs", "parameters", "floor_reached")  # formatted as integers
OTHERS = (
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "upkeep",
    "diversity",
    "fitness_variance",
    "rate",
    "pressure",
    "ms_per_step",
    "seconds",
)
FIELDS = COUNTS + OTHERS
METRICS = ("validation_", "training_")  # prefixes of the columns of metrics


class Template:
    """A path with columns of the history in braces.

    Args:
        name: name of the argument, for error messages.
        text: the path.

    Raises:
        ValueError: unbalanced braces, a field that is no column, or a format that does not fit.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        try:
            parts = [part for part in Formatter().parse(text) if part[1] is not None]
        except ValueError as error:
            raise ValueError(f"{name}: {error} in {text!r}; write {{{{ for a brace") from None
        self.fields = []
        for _, given, *_ in parts:
            field = current_name(name, COLUMNS, given) if given in COLUMNS else str(given)
            self.fields.append(field)
            if field not in FIELDS and not field.startswith(METRICS):
                raise ValueError(
                    f"{name}: expected fields out of {', '.join(FIELDS)}, got {{{field}}}"
                    f"{meant(field, FIELDS)}"
                )
        try:
            self.filled(dict.fromkeys((*FIELDS, *self.fields), 1.0))
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(f"{name}: a format of {text!r} does not fit ({error})") from None

    def check(self, validates: bool, metrics: Collection[str]) -> None:
        """Check before a run that the file is writable and all columns in the path will exist.

        The path names columns of the history in braces, such as {validation_loss}.

        Args:
            validates: True if the run evaluates on validation data.
            metrics: names of the metrics' columns in the history.

        Raises:
            ValueError: the path names a column of validation data, but the run has no such data; or
                it names a metric that is not computed.
            OSError: the folder is missing or not writable.
        """
        for field in self.fields:
            if field.startswith("validation_") and not validates:
                raise ValueError(f"{self.name}: {{{field}}} needs validation data; none was given")
            if field not in FIELDS and field not in metrics:
                there = ", ".join(metrics) or "none"
                raise ValueError(
                    f"{self.name}: expected columns of the run's metrics ({there}), got {{{field}}}"
                )
        check_folder(self.filled({}))

    def filled(self, row: Mapping[str, float]) -> str:
        """Return the path for an epoch with the columns in `row`; missing columns are 0.

        The number of an incomplete epoch is rounded up if its format takes only integers.
        """
        values: dict[str, float | int] = {
            name: row.get(name, 0.0) for name in (*FIELDS, *self.fields)
        }
        values |= {former: values[name] for former, name in COLUMNS.items()}
        for name in (*COUNTS, *COLUMNS):
            value = values[name]
            if value == int(value):
                values[name] = int(value)
        try:
            return self.text.format(**values)
        except ValueError:
            return self.text.format(**{**values, "epoch": math.ceil(values["epoch"])})
