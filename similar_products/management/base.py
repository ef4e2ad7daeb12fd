"""What the commands that look at a catalogue have in common: which products, how it goes on, and how it ends."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connections, models, router
from tqdm import tqdm

from ..catalogue.evaluation import SEED
from ..catalogue.neighbours import Catalogue, CatalogueError, read_catalogue
from ..encoders import EncoderError, get_encoder
from ..models import get_holders
from ..search.placement import declared_through, get_placement
from ..visibility import visible_products
from .arguments import condition, positive, seed_number

FOUND = 1
CANNOT_RUN = 2
INTERRUPTED = 3
NO_MODEL = (
    "No installed model is derived from VisuallySimilarModel; derive your product model from it, or a companion of it."
)


class CatalogueCommand(BaseCommand):
    """A command on the catalogue of one product model.

    A subclass has ``run``, which takes its options as keywords, and may override ``add_options``. What a user can mend
    ends in one sentence on standard error and the exit code 2, an interruption in 3; 1 is the subclass's own.
    """

    requires_system_checks = ()  # what can be wrong is said in a sentence, and with the exit code 2
    run: Callable[..., None]
    interrupted = "Interrupted. Nothing was written."
    exit_1 = ""
    """When the command ends with 1, as the help says it; '' where it never does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = f"1 when {self.exit_1}; " if self.exit_1 else ""
        self.help = f"{self.help} Exit code 0; {found}2 when the command could not run; 3 when it was interrupted."

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_models(parser)
        parser.add_argument("--database", choices=tuple(connections), help="Alias of the database (the router's).")
        self.add_options(parser)

    def add_models(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "model",
            nargs="?",
            default="",
            metavar="app.Model",
            help="The product model, or the model with its vectors; needed where there are several.",
        )

    def add_options(self, parser: ArgumentParser) -> None:
        """Add the command's own options."""

    def handle(self, *, database: str | None, verbosity: int, model: str = "", **options: Any) -> None:
        self.label, self.database, self.verbosity = model, database, verbosity
        own = {name: value for name, value in options.items() if name not in DJANGO_OPTIONS}
        with explain_errors(self.interrupted):
            self.run(**own)

    def say(self, text: str) -> None:
        """Write ``text`` to standard output, unless ``--verbosity 0`` asks for silence."""
        if self.verbosity > 0:
            self.stdout.write(text)

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        """Show a bar on a terminal, and nothing in a pipe; what is yielded takes the number just done."""
        is_shown = sys.stderr.isatty() and self.verbosity > 0
        with tqdm(total=total, desc=what, unit=f" {unit}", disable=not is_shown) as bar:
            yield bar.update

    def get_products(self) -> "models.QuerySet[Any]":
        """Return the products that an anonymous visitor may see; the queryset's ``db`` is the database to ask.

        Raises as ``find_product_model`` does, and ``ImproperlyConfigured`` where the settings' VISIBLE cannot be asked.
        """
        model = find_product_model(self.label)
        try:
            products = visible_products(model)
        except (ImportError, TypeError) as error:
            reason = str(error).rstrip(".")
            raise ImproperlyConfigured(f"VISIBLE of {model._meta.label} cannot be asked: {reason}.") from error
        return products.using(self.database or router.db_for_read(model))


DJANGO_OPTIONS = {"settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks", "stdout", "stderr"}
"""What every command of Django takes, on the command line or by ``call_command``."""


def add_where(parser: ArgumentParser, name: str = "--where", of: str = "the products") -> None:
    """Add an option that may be given several times, each time with one condition more."""
    text = f"Condition on {of}, as in stock__gt=0; may be given several times."
    parser.add_argument(name, type=condition, action="append", default=[], metavar="FIELD=VALUE", help=text)


def add_seed(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=seed_number, default=SEED, metavar="N", help=f"Random seed ({SEED}).")


def add_neighbours(parser: ArgumentParser, number: int) -> None:
    parser.add_argument("-k", type=positive, default=number, help=f"Number of neighbours of each product ({number}).")


def add_output(parser: ArgumentParser, metavar: str = "FILE", *, is_required: bool = False) -> None:
    text = f"File to write, whole or not at all{'' if is_required else ' (standard output)'}."
    parser.add_argument("--output", type=Path, metavar=metavar, required=is_required, help=text)


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


def find_product_model(label: str) -> type[models.Model]:
    """Return the product model that ``label`` means: itself, or the one whose vectors the named model has.

    Without a label there must be only one. Raises ``CommandError`` with the valid ones.
    """
    known = _product_models()
    if not known:
        raise CommandError(NO_MODEL, returncode=CANNOT_RUN)
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
def explain_errors(interrupted: str) -> Iterator[None]:
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
        raise CommandError(interrupted, returncode=INTERRUPTED) from None
