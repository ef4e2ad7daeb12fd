from argparse import ArgumentParser
from pathlib import Path

from ...catalogue.calibration import COPIES_FOUND, RANDOM_PAIRS_BELOW, Calibration, calibrate
from ...catalogue.evaluation import sample_of
from ...catalogue.neighbours import CatalogueError, read_catalogue
from ...conf import get_settings
from ...encoders import get_encoder
from ...search.bands import read_bands, write_bands
from ..arguments import add_output, add_sample
from ..base import CatalogueCommand
from ..output import writable_file

SAMPLE = 1_000


class Command(CatalogueCommand):
    help = (
        "Measure on this catalogue which similarity means near-duplicate, very similar and similar for the encoder in "
        "the settings, and write it to the JSON file that SIMILAR_PRODUCTS['BANDS'] names."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_output(parser, metavar="FILE.json", default="the one in the settings")
        add_sample(parser, SAMPLE, "Maximum number of products whose pictures are copied")

    def handle(self, *, output: Path | None, sample: int, **options: object) -> None:
        encoder = get_encoder()
        path = _bands_file(output or get_settings().bands)
        products = self.get_products()
        using = products.db
        catalogue = read_catalogue(products, encoder_name=encoder.name, using=using)
        self.prepare(encoder)
        queries = sample_of(len(catalogue.owners), sample)
        with self.progress("copies", len(queries), "products") as advance:
            found = calibrate(catalogue, encoder, products.model, queries=queries, using=using, on_progress=advance)
        measured = f"{len(queries):,} of {len(catalogue.owners):,} products of {products.model._meta.label}"
        try:
            write_bands(path, encoder.name, found.bands, measured=measured)
        except OSError as error:
            raise CatalogueError(f"{path} cannot be written: {error.strerror}; name another file.") from error
        self.say(f"Encoder {encoder.name}, {measured}\n{_text(found)}\nWritten to {path}.")


def _bands_file(path: Path | None) -> Path:
    """Return the file to write, checked before the work is done."""
    if path is None:
        raise CatalogueError(
            "There is no file to write: name one with --output FILE, or for good in SIMILAR_PRODUCTS['BANDS']."
        )
    writable_file(path)
    try:
        if path.exists():
            read_bands(path)
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
