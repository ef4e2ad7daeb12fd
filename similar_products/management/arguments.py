"""What the commands that look at a catalogue have in common: which products, how many, and how to say it."""

import os
from argparse import ArgumentTypeError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from django.core.exceptions import (
    EmptyResultSet,
    FieldError,
    ValidationError,
)
from django.db import models

from ..catalogue.neighbours import CatalogueError
from ..catalogue.sheets import plain, read_font

MAX_SEED = 2**32 - 1
"""scikit-learn takes no greater one."""


def positive(text: str) -> int:
    """Return the positive whole number that an option gives."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def seed_number(text: str) -> int:
    """Return the seed that an option gives."""
    seed = positive(text)
    if seed > MAX_SEED:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_SEED:,}")
    return seed


def share(text: str) -> float:
    """Return the share from 0 to 1 that an option gives."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def condition(text: str) -> tuple[str, Any]:
    """Return path and value of the condition that an option gives, as ``filter`` takes them."""
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise ArgumentTypeError(f"{text!r} is no condition; write FIELD=VALUE, as category__name=Hats or stock__gt=0")
    if path.endswith(("__in", "__range")):
        values = value.split(",")
        if path.endswith("__range") and len(values) != 2:
            raise ArgumentTypeError(f"{text!r} has no two ends; write {path}=FROM,TO")
        return path, values
    if path.endswith("__isnull"):
        if value.lower() not in ("true", "false"):
            raise ArgumentTypeError(f"{text!r} asks for {value!r}; valid are {path}=true and {path}=false")
        return path, value.lower() == "true"
    return path, value


def filter_by(
    products: "models.QuerySet[Any]", conditions: Sequence[tuple[str, Any]], option: str
) -> "models.QuerySet[Any]":
    """Return what of ``products`` meets all ``conditions``; raise ``CatalogueError`` where one cannot be asked."""
    for path, value in conditions:
        with explain_field_errors(products.model, f"{option} {path}"):
            products = products.filter(**{path: value})
            with suppress(EmptyResultSet):
                products.query.sql_with_params()  # some of what cannot be asked Django sees no sooner
    return products


@contextmanager
def explain_field_errors(model: type[models.Model], what: str) -> Iterator[None]:
    """Turn what Django says of a field or a value that does not fit into a ``CatalogueError`` that names ``what``."""
    try:
        yield
    except (FieldError, ValidationError, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise CatalogueError(f"{what} cannot be asked of {model._meta.label}: {reason.rstrip('.')}.") from error


def table(rows: list[list[Any]]) -> str:
    """Return rows of cells as lines of text, the first column to the left and the others to the right.

    Names that people gave may move a terminal's cursor or hide a line: of such characters none is left.
    """
    rows = [[_visible(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _visible(text: str) -> str:
    indent = text[: len(text) - len(text.lstrip(" "))]
    return indent + plain(text)


def writable_file(path: Path, suffix: str = "") -> Path:
    """Return the file to write, looked at before the work is done. Raises ``CatalogueError`` where it cannot be."""
    if suffix and path.suffix.lower() != suffix:
        raise CatalogueError(f"{str(path)!r} does not end in {suffix}; name a file that does.")
    try:
        if not path.parent.is_dir():
            raise CatalogueError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")
        if path.is_dir():
            raise CatalogueError(f"{path} is a folder; name a file.")
        if path.exists() and not path.is_file():
            raise CatalogueError(f"{path} is no ordinary file; name another.")
        _partial(path).exists()  # whose name is longer
    except OSError as error:
        raise CatalogueError(f"{path} cannot be written: {error.strerror}; name another file.") from error
    if not os.access(path.parent, os.W_OK):
        raise CatalogueError(f"{path} cannot be written: nothing may be written in {path.parent}; name another file.")
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the name of a file that takes the place of ``path`` when the block ends well, and else goes away."""
    target = path.resolve()  # of a link: what it leads to
    partial = _partial(target)
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise CatalogueError(f"{path} cannot be written: {error.strerror or error}; name another file.") from error
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    target = path.resolve()
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write each file whole, or none at all. Raises ``CatalogueError`` where that fails."""
    with ExitStack() as files:
        for path, data in contents.items():
            files.enter_context(whole_file(path)).write_bytes(data)


def check_font(path: Path | None) -> None:
    """Raise ``CatalogueError`` where ``path`` is no font."""
    try:
        read_font(path, 12)
    except OSError as error:
        raise CatalogueError(
            f"{path} is no font that can be read ({error}); name a TrueType or OpenType file."
        ) from error
