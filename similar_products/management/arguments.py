"""The options that several commands have, and the types of their values."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

from django.core.exceptions import EmptyResultSet, FieldError, ValidationError
from django.db import connections
from django.db.models import Model, QuerySet

from ..catalogue.evaluation import SEED
from ..catalogue.neighbours import CatalogueError
from ..catalogue.sheets import read_font

ModelT = TypeVar("ModelT", bound=Model)
Condition: TypeAlias = tuple[str, str | list[str] | bool]
"""A path and its value, as ``filter`` takes them."""

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
    with suppress(ValueError):
        if 0 <= (value := float(text)) <= 1:
            return value
    raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")


def condition(text: str) -> Condition:
    """Return the condition that an option gives."""
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


def add_model(parser: ArgumentParser) -> None:
    text = "The product model, or the model with its vectors; needed where there are several."
    parser.add_argument("model", nargs="?", default="", metavar="app.Model", help=text)


def add_database(parser: ArgumentParser) -> None:
    parser.add_argument("--database", choices=tuple(connections), help="Alias of the database (the router's).")


def add_label(parser: ArgumentParser, *, is_required: bool = False) -> None:
    text = "Field or relation of the product whose values are the labels, as in category__name."
    parser.add_argument("--by", required=is_required, metavar="FIELD", help=text)


def add_where(parser: ArgumentParser, name: str = "--where", of: str = "the products") -> None:
    """Add an option that may be given several times, each time with one condition more."""
    text = f"Condition on {of}, as in stock__gt=0; may be given several times."
    parser.add_argument(name, type=condition, action="append", default=[], metavar="FIELD=VALUE", help=text)


def add_seed(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=seed_number, default=SEED, metavar="N", help=f"Random seed ({SEED}).")


def add_neighbours(parser: ArgumentParser, number: int) -> None:
    text = f"Number of neighbours of each product ({number})."
    parser.add_argument("-k", type=positive, default=number, metavar="N", help=text)


def add_sample(parser: ArgumentParser, number: int, meaning: str) -> None:
    parser.add_argument("--sample", type=positive, default=number, metavar="N", help=f"{meaning} ({number:,}).")


def add_output(parser: ArgumentParser, metavar: str = "FILE", *, default: str = "") -> None:
    """Add ``--output``, required unless ``default`` says what is written without it."""
    text = f"File to write, whole or not at all{f' ({default})' if default else ''}."
    parser.add_argument("--output", type=Path, metavar=metavar, required=not default, help=text)


def add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", dest="as_json", help="Print JSON instead of a table.")


def add_font(parser: ArgumentParser) -> None:
    text = "TrueType or OpenType font for text in other than Latin letters."
    parser.add_argument("--font", type=Path, metavar="FILE", help=text)


def check_font(path: Path | None) -> None:
    """Raise ``CatalogueError`` where ``path`` is no font."""
    try:
        read_font(path, 12)
    except OSError as error:
        raise CatalogueError(
            f"{path} is no font that can be read ({error}); name a TrueType or OpenType file."
        ) from error


def filter_by(products: QuerySet[ModelT], conditions: Sequence[Condition], option: str) -> QuerySet[ModelT]:
    """Return what of ``products`` meets all ``conditions``; raise ``CatalogueError`` where one cannot be asked."""
    for path, value in conditions:
        with explain_field_errors(products.model, f"{option} {path}"):
            products = products.filter(**{path: value})
            with suppress(EmptyResultSet):
                products.query.sql_with_params()  # some of what cannot be asked Django sees no sooner
    return products


@contextmanager
def explain_field_errors(model: type[Model], what: str) -> Iterator[None]:
    """Turn what Django says of a field or a value that does not fit into a ``CatalogueError`` that names ``what``."""
    try:
        yield
    except (FieldError, ValidationError, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise CatalogueError(f"{what} cannot be asked of {model._meta.label}: {reason.rstrip('.')}.") from error
