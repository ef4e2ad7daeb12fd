from argparse import ArgumentParser
from pathlib import Path

from ...catalogue.calibration import COPIES_FOUND, RANDOM_PAIRS_BELOW, Calibration, calibrate
from ...catalogue.evaluation import sample_of
from ...catalogue.neighbours import CatalogueError, read_catalogue
from ...conf import get_settings
from ...encoders import get_encoder
from ...search.bands import read_bands, write_bands
from ..arguments import (
    positive,
)
from ..base import (
    CatalogueCommand,
)

SAMPLE = 1_000


class Command(CatalogueCommand):
    help = (
        "Measure on this catalogue which similarity means near-duplicate, very similar and similar for the encoder in "
        "the settings, and write it to the JSON file that SIMILAR_PRODUCTS['BANDS'] names."
    )

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write (the one in the settings).")
        parser.add_argument(
            "--sample",
            type=positive,
            default=SAMPLE,
            help=f"Number of products whose pictures are copied ({SAMPLE:,}).",
        )

    def run(
        self,
        *,
        output: Path | None,
        sample: int,
    ) -> None:
        encoder = get_encoder()
        path = _writable(output or get_settings().bands)
        products = self.get_products()
        using = products.db
        catalogue = read_catalogue(products, encoder_name=encoder.name, using=using)
        queries = sample_of(len(catalogue.owners), sample)
        with self.progress("copies", len(queries), "products") as advance:
            found = calibrate(catalogue, encoder, products.model, queries=queries, using=using, on_progress=advance)
        measured = f"{len(queries):,} of {len(catalogue.owners):,} products of {products.model._meta.label}"
        try:
            write_bands(path, encoder.name, found.bands, measured=measured)
        except OSError as error:
            raise CatalogueError(f"{path} cannot be written: {error.strerror}; name another with --output.") from error
        self.say(f"Encoder {encoder.name}, {measured}\n{_text(found)}\nWritten to {path}.")


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
