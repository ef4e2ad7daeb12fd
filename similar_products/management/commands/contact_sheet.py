from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand
from django.db import models
from django.utils.translation import gettext

from ...catalogue.evaluation import SEED, sample_of
from ...catalogue.neighbours import CatalogueError
from ...catalogue.products import read_pictures, read_products, ready_keys
from ...catalogue.sheets import PER_ROW, TILE, Tile, draw_sheet
from ...encoders import get_encoder
from ...query import similar_to
from ...search.bands import WORDS, get_bands
from ...search.placement import get_placement, picture_field, picture_of
from ..arguments import (
    add_catalogue_arguments,
    font_file,
    positive,
    products_of,
    progress,
    seed_number,
    sentences,
    writable_file,
    write_files,
)

MOST_ROWS = 200
"""On one sheet, of 1,000 pictures at the most, which is 57,000 pixels high then and takes 300 MB while it is drawn."""


class Command(BaseCommand):
    help = (
        "Draw products with their nearest as one picture to look at: the product in a frame, the similarity and its "
        f"word under each, {PER_ROW} to a row, each picture as encoders see it, the square from its middle. Compares "
        "exactly, without the index; only visible products are shown. Exit code 0; 2 when the command could not run; "
        "3 when it was interrupted."
    )
    requires_system_checks = ()  # what can be wrong is said below, in a sentence and with exit code 2

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_catalogue_arguments(parser)
        parser.add_argument("--output", type=Path, required=True, metavar="FILE.png", help="The PNG to write.")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--keys", nargs="+", metavar="KEY", help="Primary keys of the products to begin with.")
        which.add_argument("--random", type=positive, default=5, metavar="N", help="So many products by chance (5).")
        parser.add_argument("-k", type=positive, default=9, help="Nearest of each (9: two rows).")
        parser.add_argument(
            "--seed", type=seed_number, default=SEED, help=f"Another one draws other products ({SEED})."
        )
        parser.add_argument(
            "--font",
            type=Path,
            metavar="FILE",
            help="TrueType or OpenType font for names in other than Latin letters.",
        )

    def handle(
        self,
        *,
        model: str,
        database: str | None,
        output: Path,
        keys: Sequence[str] | None,
        random: int,
        k: int,
        seed: int,
        font: Path | None,
        verbosity: int,
        **options: Any,
    ) -> None:
        with sentences():
            path = writable_file(output, ".png")
            font_file(font)
            count = len(keys or ()) or random
            if (rows := count * -(-(k + 1) // PER_ROW)) > MOST_ROWS:
                raise CatalogueError(
                    f"{count:,} products with {k:,} each are {rows:,} rows of {PER_ROW} pictures, and one sheet takes "
                    f"{MOST_ROWS}; take fewer products or a smaller -k."
                )
            products = products_of(model, database)
            queries = _named(products, keys) if keys else _drawn(products, random, seed)
            with progress("neighbours", len(queries), " products", verbosity=verbosity) as advance:
                groups = []
                for query in queries:
                    groups.append([query, *similar_to(products, query, exact=True)[:k]])
                    advance(1)
            shown = [row for group in groups for row in group]
            with progress("pictures", len(shown), " pictures", verbosity=verbosity) as advance:
                pictures = iter(_pictures(products.model, shown, advance))
            bands = get_bands(get_encoder().name)
            tiles = [
                [
                    Tile(
                        next(pictures),
                        str(row),
                        _note(row.similarity, bands) if place else gettext("the product"),
                        not place,
                    )
                    for place, row in enumerate(group)
                ]
                for group in groups
            ]
            title = gettext("%(model)s: products and their nearest") % {"model": products.model._meta.label}
            write_files({path: draw_sheet(title, tiles, font=font)})
        if verbosity > 0:
            self.stdout.write(f"{len(groups):,} products with their nearest, {len(shown):,} pictures, in {path}.")


def _named(products: "models.QuerySet[Any]", keys: Sequence[str]) -> list[Any]:
    """Return the products of these keys, in this order and each once."""
    label, field = products.model._meta.label, products.model._meta.pk
    try:
        wanted = list(dict.fromkeys(field.to_python(key) for key in keys))
    except ValidationError as error:
        raise CatalogueError(f"Not all of {', '.join(keys)} are keys of {label}: {error.messages[0]}") from error
    found = read_products(products, wanted)
    if missing := [str(key) for key in wanted if key not in found]:
        raise CatalogueError(f"{label} has no visible product with the key {', '.join(missing)}; name others.")
    ready = set(ready_keys(products.filter(pk__in=wanted), using=products.db))
    if pending := [str(key) for key in wanted if key not in ready]:
        raise CatalogueError(
            f"{label} {', '.join(pending)} has no vector of the encoder {get_encoder().name}; run embed_products first."
        )
    return [found[key] for key in wanted]


def _drawn(products: "models.QuerySet[Any]", count: int, seed: int) -> list[Any]:
    keys = ready_keys(products, using=products.db)
    if not keys:
        raise CatalogueError(
            f"{products.model._meta.label} has no visible product with a vector of the encoder {get_encoder().name}; "
            "run embed_products first."
        )
    chosen = [keys[position] for position in sample_of(len(keys), count, seed=seed)]
    found = read_products(products, chosen)
    return [found[key] for key in chosen if key in found]


def _pictures(model: type[models.Model], rows: Sequence[Any], advance: Any) -> list[Any]:
    storage = picture_field(get_placement(model).holder).storage
    names = [getattr(picture_of(row), "name", None) or "" for row in rows]
    return read_pictures(storage, names, TILE, lambda picture: picture, on_progress=advance)


def _note(similarity: float, bands: Any) -> str:
    return f"{similarity:.3f}, {WORDS[bands.word(similarity)]}" if bands else f"{similarity:.3f}"
