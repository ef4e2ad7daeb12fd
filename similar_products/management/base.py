"""What the commands have in common: which products they take, how they show progress, and how they end."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, OperationalError, ProgrammingError, connections, router
from django.db.models import Model, QuerySet
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..catalogue.neighbours import Catalogue, CatalogueError, read_catalogue
from ..embedding.timeouts import without_limits
from ..encoders import Encoder, EncoderError, get_encoder
from ..models import database_problem, get_holders
from ..search.placement import declared_through, get_placement
from ..visibility import visible_products
from .arguments import add_database, add_model
from .output import whole_file

CANNOT_RUN = 2
INTERRUPTED = 3


class CatalogueCommand(BaseCommand):
    """A command on the products of one model.

    Its exit codes: 0; 1 where ``handle`` raises a ``CommandError`` because of what it found, as ``exit_1`` states; 2
    where it could not run, with one sentence on standard error that says what to do; 3 where it was interrupted.
    """

    requires_system_checks = ()  # a wrong setting ends in a sentence and the exit code 2 as well
    exit_1 = ""
    interrupted = "Interrupted. Nothing was written."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        found = f"1 when {self.exit_1}; " if self.exit_1 else ""
        codes = f"Exit codes: 0 on success; {found}2 when the command could not run; 3 when it was interrupted."
        return super().create_parser(prog_name, subcommand, epilog=codes, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_model(parser)
        add_database(parser)

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.label: str = options.get("model", "")
        self.database: str | None = options["database"]
        self.verbosity: int = options["verbosity"]
        with explain_errors(self.interrupted), without_limits(self._databases()):
            return super().execute(*args, **options)

    def _databases(self) -> set[str]:
        """Return the databases that have the products; raise ``ImproperlyConfigured`` where one is not PostgreSQL."""
        asked = (router.db_for_read, router.db_for_write)
        wanted = {self.database or ask(holder) for holder in get_holders() for ask in asked}
        for alias in wanted & {*connections}:
            if sentence := database_problem(alias):
                raise ImproperlyConfigured(sentence)
        return wanted & {*connections}

    @property
    def shows_progress(self) -> bool:
        """Whether standard error is a terminal and ``--verbosity`` does not ask for silence."""
        return sys.stderr.isatty() and self.verbosity > 0

    def say(self, text: str) -> None:
        """Write ``text`` to standard output, unless ``--verbosity 0`` asks for silence."""
        if self.verbosity > 0:
            self.stdout.write(text)

    def write_output(self, texts: Iterable[str], path: Path | None = None) -> None:
        """Write ``texts`` into the file ``path``, whole or not at all, or without one to standard output."""
        if path is not None:
            with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
                file.writelines(texts)
            return
        try:
            for text in texts:
                self.stdout.write(text, ending="")
            self.stdout.flush()
        except KeyboardInterrupt:
            raise CommandError("Interrupted. What standard output got is not whole.", returncode=INTERRUPTED) from None
        except OSError as error:
            # Or Python would fail once more when it closes the stream at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise CatalogueError("Standard output was closed before all was written.") from None
            raise CatalogueError(f"Standard output cannot be written: {error.strerror}.") from error

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        """Show a bar on a terminal, and nothing in a pipe; yield the function that takes the number just done."""
        with (
            # In a pipe the log keeps its own handlers: the redirection ignores their levels and filters.
            logging_redirect_tqdm() if self.shows_progress else nullcontext(),
            tqdm(total=total, desc=what, unit=f" {unit}", disable=not self.shows_progress) as bar,
        ):
            yield bar.update

    def show_step(self, step: str) -> None:
        """Name a step of long work on a terminal; in a pipe nothing."""
        if self.shows_progress:
            self.stderr.write(f"  {step} …", self.style.NOTICE)

    def prepare(self, encoder: Encoder) -> None:
        """Do what an encoder needs once per machine, such as the conversion of its model."""
        if encoder.needs_preparing:
            if self.verbosity > 0:  # not on standard output, which may be a file of JSON
                sentence = f"Preparing the model of {encoder.name} for LiteRT, which is done once on a machine."
                self.stderr.write(sentence, self.style.NOTICE)
            note = encoder.prepare(self.show_step)
            if note and self.verbosity > 0:
                self.stderr.write(note, self.style.NOTICE)

    def get_products(self) -> QuerySet[Model]:
        """Return the products that an anonymous visitor may see; the queryset's ``db`` is the database to query.

        Raises as ``find_product_model`` does, and ``ImproperlyConfigured`` where the settings' VISIBLE cannot be asked.
        """
        model = find_product_model(self.label)
        try:
            products = visible_products(model)
        except (ImportError, TypeError) as error:
            reason = str(error).rstrip(".")
            raise ImproperlyConfigured(f"VISIBLE of {model._meta.label} cannot be asked: {reason}.") from error
        return products.using(self.database or router.db_for_read(model))


@contextmanager
def explain_errors(interrupted: str) -> Iterator[None]:
    """Turn what a user can correct into a ``CommandError`` with a sentence and its exit code."""
    try:
        yield
    except (CatalogueError, EncoderError, FieldDoesNotExist, ImproperlyConfigured) as error:
        raise CommandError(str(error), returncode=CANNOT_RUN) from error
    except Error as error:  # some mistakes in a condition only the database notices
        reason = str(error).partition("\n")[0].rstrip(".")
        sentence = f"The database reports an error: {reason}."
        if isinstance(error, OperationalError | ProgrammingError):  # no server, no table, another database
            sentence += " Run python manage.py check --database default, which says what is missing."
        raise CommandError(sentence, returncode=CANNOT_RUN) from error
    except OSError as error:  # no space for the temporary file of vectors, no permission to read a model's file
        raise CommandError(f"A file cannot be read or written: {error}.", returncode=CANNOT_RUN) from error
    except KeyboardInterrupt:
        raise CommandError(interrupted, returncode=INTERRUPTED) from None


def read_embedded(products: QuerySet[Model], *, is_narrowed: bool = False) -> Catalogue:
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


def find_product_model(label: str) -> type[Model]:
    """Return the product model that ``label`` means: itself, or the one whose vectors the named model has.

    Without a label there must be only one. Raises ``CatalogueError`` with the valid ones.
    """
    known = _product_models()
    valid = join_labels(known)
    if not label:
        if len(known) == 1:
            return known[0]
        raise CatalogueError(f"There are several models with vectors; name one of {valid}.")
    try:
        named = apps.get_model(label)
        get_placement(named)
    except (LookupError, TypeError, ValueError):  # a TypeError: it has no vectors
        raise CatalogueError(f"{label!r} is no model with vectors; valid are {valid}.") from None
    return next((model for model in known if model is not named and _holder(model) is named), named)


def join_labels(known: Iterable[type[Model]]) -> str:
    """Return the labels of the models with vectors; raise ``CatalogueError`` where there is none."""
    if labels := ", ".join(model._meta.label for model in known):
        return labels
    raise CatalogueError(
        "No installed model is derived from VisuallySimilarModel; derive your product model from it, or a companion "
        "of it."
    )


def _product_models() -> list[type[Model]]:
    """Return the models that declare where their vectors are, and the models with vectors that none declares."""
    declaring: list[type[Model]] = [
        model
        for model in apps.get_models()
        if not model._meta.proxy and not model._meta.parents and declared_through(model)
    ]
    claimed = {_holder(model) for model in declaring}
    return [*declaring, *(holder for holder in get_holders() if holder not in claimed)]


def _holder(model: type[Model]) -> type[Model]:
    try:
        return get_placement(model).holder
    except TypeError as error:  # a mistake in SIMILAR_PRODUCTS["PRODUCTS"] or in a manager
        raise ImproperlyConfigured(f"{model._meta.label}: {error}") from error
