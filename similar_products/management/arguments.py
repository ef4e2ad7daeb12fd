"""What the commands that look at a catalogue have in common: which products, how many, and how to say it."""

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import connections, models
from tqdm import tqdm

from ..encoders import EncoderError
from ..models import get_holders
from ..neighbours import CatalogueError
from ..placement import declared_through, get_placement

BELOW = 1
CANNOT_RUN = 2
INTERRUPTED = 3


def positive(text: str) -> int:
    """Return the positive whole number that an option gives."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def share(text: str) -> float:
    """Return the share from 0 to 1 that an option gives."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def add_catalogue_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that say which products are meant."""
    parser.add_argument(
        "model",
        nargs="?",
        default="",
        metavar="app.Model",
        help="The product model, or the model with its vectors; needed where there are several.",
    )
    parser.add_argument("--database", choices=tuple(connections), help="Alias of the database (the router's).")


def product_model(label: str) -> type[models.Model]:
    """Return the product model that ``label`` means: itself, or the one whose vectors the named model has.

    Without a label there must be only one. Raises ``CommandError`` with the valid ones.
    """
    known = _product_models()
    if not known:
        raise CommandError(
            "No installed model is derived from VisuallySimilarModel; derive your product model from it, or a "
            "companion of it.",
            returncode=CANNOT_RUN,
        )
    valid = ", ".join(model._meta.label for model in known)
    if not label:
        if len(known) == 1:
            return known[0]
        raise CommandError(f"There are several models with vectors; name one of {valid}.", returncode=CANNOT_RUN)
    try:
        named = apps.get_model(label)
    except (LookupError, ValueError):
        named = None
    if named is not None:
        owners = [model for model in known if _holder(model) is named and model is not named]
        if owners:
            return owners[0]
        try:
            get_placement(named)
        except TypeError:
            pass  # it has no vectors
        else:
            return named
    raise CommandError(f"{label!r} is no model with vectors; valid are {valid}.", returncode=CANNOT_RUN)


def _product_models() -> list[type[models.Model]]:
    """Return the models that declare where their vectors are, and the models with vectors that none declares."""
    declaring: list[type[models.Model]] = [
        model
        for model in apps.get_models()
        if not model._meta.proxy and not model._meta.parents and declared_through(model)
    ]
    claimed = {_holder(model) for model in declaring}
    return [*declaring, *(holder for holder in get_holders() if holder not in claimed)]


def _holder(model: type[models.Model]) -> type[models.Model]:
    try:
        return get_placement(model).holder
    except TypeError as error:  # a mistake in SIMILAR_PRODUCTS["PRODUCTS"] or in a manager
        raise ImproperlyConfigured(f"{model._meta.label}: {error}") from error


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what a user can mend into a ``CommandError`` with its sentence and the exit code that goes with it."""
    try:
        yield
    except (CatalogueError, EncoderError, FieldDoesNotExist, ImproperlyConfigured) as error:
        raise CommandError(str(error), returncode=CANNOT_RUN) from error
    except KeyboardInterrupt:
        raise CommandError("Interrupted. Nothing was written.", returncode=INTERRUPTED) from None


@contextmanager
def progress(what: str, total: int, unit: str, *, verbosity: int) -> Iterator[Callable[[int], object]]:
    """Show a bar on a terminal, and nothing in a pipe; what is yielded takes the number just done."""
    is_shown = sys.stderr.isatty() and verbosity > 0
    with tqdm(total=total, desc=what, unit=unit, disable=not is_shown) as bar:
        yield bar.update


def table(rows: list[list[Any]]) -> str:
    """Return rows of cells as lines of text, the first column to the left and the others to the right."""
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            str(cell).rjust(width) if column else str(cell).ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
