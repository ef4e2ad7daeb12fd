import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.core.management.base import CommandError
from django.db import models

from ...catalogue.duplicates import DuplicateGroup, find_duplicates, keeper_order
from ...catalogue.neighbours import Catalogue, CatalogueError
from ...catalogue.products import read_products
from ...encoders import get_encoder
from ...search.bands import get_bands
from ...search.placement import get_placement
from ..arguments import (
    condition,
    explain_field_errors,
    filter_by,
    share,
    table,
)
from ..base import (
    FOUND,
    CatalogueCommand,
    add_where,
    read_embedded,
)

IN_STOCK = (
    "in_stock",
    "is_in_stock",
    "is_available",
    "available",
    "stock",
    "num_in_stock",
    "stock_quantity",
    "quantity",
)
CREATED = ("created", "created_at", "date_created", "created_on", "date_added", "added_at", "added")
"""Names of fields that say the same in many shops; the first that the product model has counts."""


class Command(CatalogueCommand):
    help = (
        "Find products that show the same picture: the same file, a copy (recompressed, of another size, mirrored, "
        "with a border), or one in the encoder's near-duplicate band; in groups with the product to keep. Only "
        "products that an anonymous visitor may see are compared; nothing is changed."
    )

    exit_1 = "there are duplicates"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--similarity",
            type=share,
            metavar="S",
            help="From this similarity two pictures count without agreeing by their pixels (the encoder's "
            "near-duplicate band); 1 leaves the pixels alone to say it.",
        )
        parser.add_argument(
            "--keep",
            type=criteria,
            metavar="A,B,...",
            help="Which product of a group to keep: fields, with - before them for the greatest first; conditions "
            "(stock__gt=0) for those that meet them first; pictures for the one with the most. Without it those in "
            "stock, then the older, then those with more pictures, as far as the model has fields that say so.",
        )
        add_where(parser)
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print JSON instead of a table.")

    def run(
        self,
        *,
        similarity: float | None,
        keep: Sequence[Any] | None,
        where: Sequence[tuple[str, Any]],
        as_json: bool,
    ) -> None:
        encoder = get_encoder()
        products = filter_by(self.get_products(), where, "--where")
        using = products.db
        near = _near_duplicate(encoder.name) if similarity is None else similarity
        with explain_field_errors(products.model, "--keep"):
            order = keeper_order(products, default_criteria(products.model) if keep is None else keep)
        catalogue = read_embedded(products, is_narrowed=bool(where))
        with self.progress("pictures", len(catalogue.keys), "pictures") as advance:
            groups = find_duplicates(
                catalogue, products, near_duplicate=near, order=order, using=using, on_progress=advance
            )
        report = _report(groups, catalogue, products, near=near, using=using)
        self.stdout.write(json.dumps(report, indent=2, default=str) if as_json else _text(report))
        if groups:
            raise CommandError(
                f"{report['duplicates']:,} products show the picture of another one; {len(groups):,} to keep.",
                returncode=FOUND,
            )


def criteria(text: str) -> list[Any]:
    """Return the criteria of ``keeper_order`` that an option gives."""
    found = [condition(part) if "=" in part else part.strip() for part in text.split(",")]
    if not all(found):
        raise ArgumentTypeError(f"{text!r} has an empty criterion; write A,B,... as in stock__gt=0,created")
    return found


def default_criteria(model: type[models.Model]) -> list[Any]:
    """Return in stock, older, more pictures, as far as ``model`` has a field of a usual name for it."""
    stock, created = _first_field(model, IN_STOCK), _first_field(model, CREATED)
    found: list[Any] = []
    if isinstance(stock, models.BooleanField):
        found.append((stock.name, True))
    elif isinstance(stock, models.IntegerField | models.DecimalField | models.FloatField):
        found.append((f"{stock.name}__gt", 0))
    if isinstance(created, models.DateField):
        found.append(created.name)
    return [*found, "pictures"]


def _first_field(model: type[models.Model], names: Sequence[str]) -> Any:
    for name in names:
        try:
            return model._meta.get_field(name)
        except FieldDoesNotExist:
            continue
    return None


def _near_duplicate(encoder_name: str) -> float:
    bands = get_bands(encoder_name)
    if bands is None:
        raise CatalogueError(
            f"Nobody has calibrated the encoder {encoder_name}: run calibrate_similarity, or say with --similarity "
            "from which similarity two pictures count."
        )
    return bands.near_duplicate


def _report(
    groups: list[DuplicateGroup], catalogue: Catalogue, products: "models.QuerySet[Any]", *, near: float, using: str
) -> dict[str, Any]:
    named = read_products(products, [key for group in groups for key in (group.keeper, *_keys(group))])
    placement = get_placement(products.model)
    rows = [row for group in groups for one in group.duplicates for row in (one.row, one.keeper_row)]
    pictures = dict(
        placement.holder._base_manager.using(using).filter(pk__in=rows).values_list("pk", placement.holder_image)
    )
    return {
        "model": products.model._meta.label,
        "encoder": get_encoder().name,
        "near_duplicate": near,
        "products": len(catalogue.owners),
        "without_vector": products.values("pk").distinct().count() - len(catalogue.owners),
        "duplicates": sum(len(group.duplicates) for group in groups),
        "groups": [
            {
                "keep": group.keeper,
                "name": str(named.get(group.keeper, "")),
                "duplicates": [
                    {
                        "product": one.product,
                        "name": str(named.get(one.product, "")),
                        "kind": one.kind,
                        "similarity": round(one.similarity, 4),
                        "picture": pictures.get(one.row, ""),
                        "picture_kept": pictures.get(one.keeper_row, ""),
                    }
                    for one in group.duplicates
                ],
            }
            for group in groups
        ],
    }


def _keys(group: DuplicateGroup) -> list[Any]:
    return [one.product for one in group.duplicates]


def _text(report: dict[str, Any]) -> str:
    lines = [
        f"{report['model']}: {report['products']:,} products compared, {report['without_vector']:,} have no vector.",
        f"Near-duplicate from a similarity of {report['near_duplicate']:.3f}.",
    ]
    rows: list[list[Any]] = [["product", "similarity", "kind", "picture", "name"]]
    for group in report["groups"]:
        first = group["duplicates"][0]
        rows.append([group["keep"], "", "keep", first["picture_kept"], group["name"]])
        rows += [
            [
                f"  {one['product']}",
                f"{one['similarity']:.4f}",
                one["kind"],
                one["picture"],
                one["name"],
            ]
            for one in group["duplicates"]
        ]
    return "\n".join([*lines, "", table(rows)] if len(rows) > 1 else lines)
