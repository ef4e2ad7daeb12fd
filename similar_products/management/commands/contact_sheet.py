from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext

from ...catalogue.evaluation import sample_of
from ...catalogue.neighbours import CatalogueError
from ...catalogue.products import read_pictures, read_products, ready_keys
from ...catalogue.sheets import PER_ROW, TILE, Tile, draw_sheet
from ...encoders import get_encoder
from ...query import similar_to
from ...search.bands import WORDS, get_bands
from ...search.placement import get_placement, picture_field, picture_of
from ..arguments import (
    check_font,
    positive,
    writable_file,
    write_files,
)
from ..base import (
    CatalogueCommand,
    add_neighbours,
    add_output,
    add_seed,
)

MAX_ROWS = 200
"""Maximum number of rows on a sheet: 1,000 pictures, 57,000 pixels high, 300 MB of memory while it is drawn."""


class Command(CatalogueCommand):
    help = (
        "Draw products with their nearest as one picture to look at: the product in a frame, the similarity and its "
        f"word under each, {PER_ROW} to a row, each picture as encoders see it, the square from its middle. Compares "
        f"exactly, without the index; only visible products are shown."
    )

    def add_options(self, parser: ArgumentParser) -> None:
        add_output(parser, metavar="FILE.png", is_required=True)
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--keys", nargs="+", metavar="KEY", help="Primary keys of the products to begin with.")
        which.add_argument(
            "--random", type=positive, default=5, metavar="N", help="Number of products, chosen at random (5)."
        )
        add_neighbours(parser, 9)
        add_seed(parser)
        parser.add_argument(
            "--font",
            type=Path,
            metavar="FILE",
            help="TrueType or OpenType font for names in other than Latin letters.",
        )

    def run(
        self,
        *,
        output: Path,
        keys: Sequence[str] | None,
        random: int,
        k: int,
        seed: int,
        font: Path | None,
    ) -> None:
        path = writable_file(output, ".png")
        check_font(font)
        count = len(keys or ()) or random
        if (rows := count * -(-(k + 1) // PER_ROW)) > MAX_ROWS:
            raise CatalogueError(
                f"{count:,} products with {k:,} each are {rows:,} rows of {PER_ROW} pictures, and one sheet takes "
                f"{MAX_ROWS}; take fewer products or a smaller -k."
            )
        products = self.get_products()
        queries = _named(products, keys) if keys else _drawn(products, random, seed)
        with self.progress("neighbours", len(queries), "products") as advance:
            groups = []
            for query in queries:
                groups.append([query, *similar_to(products, query, exact=True)[:k]])
                advance(1)
        shown = [row for group in groups for row in group]
        with self.progress("pictures", len(shown), "pictures") as advance:
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
        self.say(f"{len(groups):,} products with their nearest, {len(shown):,} pictures, in {path}.")


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
