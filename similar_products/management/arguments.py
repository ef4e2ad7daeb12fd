"""What the commands that look at a catalogue have in common: which products, how many, and how to say it."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.exceptions import (
    EmptyResultSet,
    FieldDoesNotExist,
    FieldError,
    ImproperlyConfigured,
    ValidationError,
)
from django.core.management.base import CommandError
from django.db import Error, connections, models, router
from tqdm import tqdm

from ..catalogue.neighbours import Catalogue, CatalogueError, read_catalogue
from ..catalogue.sheets import plain, read_font
from ..encoders import EncoderError, get_encoder
from ..models import get_holders
from ..search.placement import declared_through, get_placement
from ..visibility import visible_products

BELOW = 1
CANNOT_RUN = 2
INTERRUPTED = 3

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


def add_where_argument(parser: ArgumentParser, name: str, *, help: str) -> None:  # noqa: A002  as argparse has it
    """Add an option that may be given several times, each time with one condition more."""
    parser.add_argument(name, type=condition, action="append", default=[], metavar="FIELD=VALUE", help=help)


def matching(
    products: "models.QuerySet[Any]", conditions: Sequence[tuple[str, Any]], option: str
) -> "models.QuerySet[Any]":
    """Return what of ``products`` meets all ``conditions``; raise ``CatalogueError`` where one cannot be asked."""
    for path, value in conditions:
        with asked_of(products.model, f"{option} {path}"):
            products = products.filter(**{path: value})
            with suppress(EmptyResultSet):
                products.query.sql_with_params()  # some of what cannot be asked Django sees no sooner
    return products


@contextmanager
def asked_of(model: type[models.Model], what: str) -> Iterator[None]:
    """Turn what Django says of a field or a value that does not fit into a ``CatalogueError`` that names ``what``."""
    try:
        yield
    except (FieldError, ValidationError, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise CatalogueError(f"{what} cannot be asked of {model._meta.label}: {reason.rstrip('.')}.") from error


def read_embedded(products: "models.QuerySet[Any]", *, is_narrowed: bool = False) -> Catalogue:
    """Return the catalogue of ``products``; raise ``CatalogueError`` where it has fewer than two.

    ``is_narrowed`` says that they had conditions to meet, which may be why.
    """
    encoder_name = get_encoder().name
    catalogue = read_catalogue(products, encoder_name=encoder_name, using=products.db)
    if len(catalogue.owners) < 2:
        of = " that meet the conditions" if is_narrowed else ""
        remedy = "ask for less, or run embed_products first" if is_narrowed else "run embed_products first"
        raise CatalogueError(
            f"{products.model._meta.label} has {len(catalogue.owners)} visible products with a vector of the encoder "
            f"{encoder_name}{of}, and two are needed; {remedy}."
        )
    return catalogue


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


def products_of(label: str, database: str | None) -> "models.QuerySet[Any]":
    """Return the products that an anonymous visitor may see of the model that ``label`` means.

    They are asked of ``database``, or of the router's; the queryset's ``db`` says which. Raises as ``product_model``
    does, and ``ImproperlyConfigured`` where the settings' VISIBLE cannot be asked.
    """
    model = product_model(label)
    try:
        products = visible_products(model)
    except (ImportError, TypeError) as error:
        reason = str(error).rstrip(".")
        raise ImproperlyConfigured(f"VISIBLE of {model._meta.label} cannot be asked: {reason}.") from error
    return products.using(database or router.db_for_read(model))


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
    except Error as error:  # what a condition asks can be wrong in ways that only the database knows
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CommandError(f"The database cannot answer that: {reason}.", returncode=CANNOT_RUN) from error
    except OSError as error:  # no space for the temporary file of vectors, a model's file that may not be read
        raise CommandError(f"A file cannot be read or written: {error}.", returncode=CANNOT_RUN) from error
    except KeyboardInterrupt:
        raise CommandError("Interrupted. Nothing was written.", returncode=INTERRUPTED) from None


@contextmanager
def progress(what: str, total: int, unit: str, *, verbosity: int) -> Iterator[Callable[[int], object]]:
    """Show a bar on a terminal, and nothing in a pipe; what is yielded takes the number just done."""
    is_shown = sys.stderr.isatty() and verbosity > 0
    with tqdm(total=total, desc=what, unit=unit, disable=not is_shown) as bar:
        yield bar.update


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


def font_file(path: Path | None) -> None:
    """Raise ``CatalogueError`` where ``path`` is no font."""
    try:
        read_font(path, 12)
    except OSError as error:
        raise CatalogueError(
            f"{path} is no font that can be read ({error}); name a TrueType or OpenType file."
        ) from error
