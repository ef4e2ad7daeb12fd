from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from ...catalogue.calibration import COPIES_FOUND, RANDOM_PAIRS_BELOW, Calibration, calibrate
from ...catalogue.evaluation import sample_of
from ...catalogue.neighbours import CatalogueError, read_catalogue
from ...conf import get_settings
from ...encoders import get_encoder
from ...search.bands import read_bands, write_bands
from ..arguments import add_catalogue_arguments, positive, products_of, progress, sentences

SAMPLE = 1_000


class Command(BaseCommand):
    help = (
        "Measure on this catalogue which similarity means near-duplicate, very similar and similar for the encoder in "
        "the settings, and write it to the JSON file that SIMILAR_PRODUCTS['BANDS'] names. Exit code 0; 2 when the "
        "command could not run; 3 when it was interrupted."
    )
    requires_system_checks = ()  # what can be wrong is said below, in a sentence and with exit code 2

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_catalogue_arguments(parser)
        parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write (the one in the settings).")
        parser.add_argument(
            "--sample", type=positive, default=SAMPLE, help=f"Products whose pictures are copied ({SAMPLE:,})."
        )

    def handle(
        self,
        *,
        model: str,
        database: str | None,
        output: Path | None,
        sample: int,
        verbosity: int,
        **options: Any,
    ) -> None:
        with sentences():
            encoder = get_encoder()
            path = _writable(output or get_settings().bands)
            products = products_of(model, database)
            using = products.db
            catalogue = read_catalogue(products, encoder_name=encoder.name, using=using)
            queries = sample_of(len(catalogue.owners), sample)
            with progress("copies", len(queries), " products", verbosity=verbosity) as advance:
                found = calibrate(catalogue, encoder, products.model, queries=queries, using=using, on_progress=advance)
            measured = f"{len(queries):,} of {len(catalogue.owners):,} products of {products.model._meta.label}"
            try:
                write_bands(path, encoder.name, found.bands, measured=measured)
            except OSError as error:
                raise CatalogueError(
                    f"{path} cannot be written: {error.strerror}; name another with --output."
                ) from error
        if verbosity > 0:
            self.stdout.write(f"Encoder {encoder.name}, {measured}\n{_text(found)}")
            self.stdout.write(f"Written to {path}.")


def _writable(path: Path | None) -> Path:
    """Return the file to write, looked at before the work is done."""
    if path is None:
        raise CatalogueError(
            "There is no file to write: name one with --output FILE, or for good in SIMILAR_PRODUCTS['BANDS']."
        )
    if not path.parent.is_dir():
        raise CatalogueError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")
    try:
        if path.exists():
            read_bands(path)
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror}; name another file with --output.") from error
    except ValueError as error:
        raise CatalogueError(f"{path} has something else in it: {error} Name another file with --output.") from error
    return path


def _text(found: Calibration) -> str:
    bands = found.bands
    return "\n".join(
        [
            f"near-duplicate  from {bands.near_duplicate:.3f}  {COPIES_FOUND} % of {found.copies:,} mild copies",
            f"very similar    from {bands.very_similar:.3f}  the nearest of half of {found.neighbours:,} products",
            f"similar         from {bands.similar:.3f}  {100 - RANDOM_PAIRS_BELOW} % of {found.pairs:,} random pairs",
            *found.notes,
        ]
    )
