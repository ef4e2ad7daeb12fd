import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Hashable, Sequence
from typing import TypeAlias, TypedDict

from django.core.exceptions import FieldDoesNotExist
from django.core.management.base import CommandError
from django.db import models

from ...catalogue.duplicates import DuplicateGroup, find_duplicates, keeper_order
from ...catalogue.neighbours import CatalogueError
from ...catalogue.products import read_products
from ...encoders import get_encoder
from ...query import all_rows
from ...search.bands import get_bands
from ...search.placement import get_placement
from ..arguments import Condition, add_json, add_where, condition, explain_field_errors, filter_by, share
from ..base import CatalogueCommand, read_embedded
from ..output import table

Criterion: TypeAlias = str | tuple[str, object]
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


class ReportedDuplicate(TypedDict):
    product: Hashable
    name: str
    kind: str
    similarity: float
    picture: str
    picture_kept: str


class ReportedGroup(TypedDict):
    keep: Hashable
    name: str
    duplicates: list[ReportedDuplicate]


class Report(TypedDict):
    """What was found; as JSON it has these very names."""

    model: str
    encoder: str
    near_duplicate: float
    products: int
    without_vector: int
    duplicates: int
    groups: list[ReportedGroup]


class Command(CatalogueCommand):
    help = (
        "Find products that show the same picture: the same file, a copy (recompressed, of another size, mirrored, "
        "with a border), or one in the encoder's near-duplicate band; in groups with the product to keep. Only "
        "products that an anonymous visitor may see are compared; nothing is changed."
    )
    exit_1 = "there are duplicates"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = (
            "Similarity from which two pictures count as the same even where their pixels differ (the encoder's "
            "near-duplicate band); with 1 the pixels alone decide."
        )
        parser.add_argument("--similarity", type=share, metavar="S", help=text)
        text = (
            "Which product of a group to keep: fields, with - before them for the greatest first; conditions "
            "(stock__gt=0) for those that meet them first; pictures for the one with the most. Without it those in "
            "stock, then the older, then those with more pictures, as far as the model has fields that say so."
        )
        parser.add_argument("--keep", type=criteria, metavar="A,B,...", help=text)
        add_where(parser)
        add_json(parser)

    def handle(
        self,
        *,
        similarity: float | None,
        keep: Sequence[Criterion] | None,
        where: Sequence[Condition],
        as_json: bool,
        **options: object,
    ) -> None:
        encoder = get_encoder()
        products = filter_by(self.get_products(), where, "--where")
        near = _near_duplicate(encoder.name) if similarity is None else similarity
        with explain_field_errors(products.model, "--keep"):
            order = keeper_order(products, default_criteria(products.model) if keep is None else keep)
        catalogue = read_embedded(products, is_narrowed=bool(where))
        with self.progress("pictures", len(catalogue.keys), "pictures") as advance:
            groups = find_duplicates(
                catalogue, products, near_duplicate=near, order=order, using=products.db, on_progress=advance
            )
        report: Report = {
            "model": products.model._meta.label,
            "encoder": encoder.name,
            "near_duplicate": near,
            "products": len(catalogue.owners),
            "without_vector": products.values("pk").distinct().count() - len(catalogue.owners),
            "duplicates": sum(len(group.duplicates) for group in groups),
            "groups": _report(groups, products),
        }
        self.write_output([json.dumps(report, indent=2, default=str) if as_json else _text(report), "\n"])
        if groups:
            raise CommandError(
                f"{report['duplicates']:,} products show the picture of another one; {len(groups):,} to keep."
            )


def criteria(text: str) -> list[Criterion]:
    """Return the criteria of ``keeper_order`` that an option gives."""
    found: list[Criterion] = [condition(part) if "=" in part else part.strip() for part in text.split(",")]
    if not all(found):
        raise ArgumentTypeError(f"{text!r} has an empty criterion; write A,B,... as in stock__gt=0,created")
    return found


def default_criteria(model: type[models.Model]) -> list[Criterion]:
    """Return in stock, older, more pictures, as far as ``model`` has a field of a usual name for it."""
    stock, created = _first_field(model, IN_STOCK), _first_field(model, CREATED)
    found: list[Criterion] = []
    if isinstance(stock, models.BooleanField):
        found.append((stock.name, True))
    elif isinstance(stock, models.IntegerField | models.DecimalField | models.FloatField):
        found.append((f"{stock.name}__gt", 0))
    if isinstance(created, models.DateField):
        found.append(created.name)
    return [*found, "pictures"]


def _first_field(model: type[models.Model], names: Sequence[str]) -> object:
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


def _report(groups: Sequence[DuplicateGroup], products: models.QuerySet[models.Model]) -> list[ReportedGroup]:
    duplicates = [one for group in groups for one in group.duplicates]
    found = read_products(products, [*(group.keeper for group in groups), *(one.product for one in duplicates)])
    names = {key: str(product) for key, product in found.items()}
    placement = get_placement(products.model)
    rows = {row for one in duplicates for row in (one.row, one.keeper_row)}
    holders = all_rows(placement.holder, products.db).filter(pk__in=rows)
    pictures = dict(holders.values_list("pk", placement.holder_image))
    return [
        {
            "keep": group.keeper,
            "name": names.get(group.keeper, ""),
            "duplicates": [
                {
                    "product": one.product,
                    "name": names.get(one.product, ""),
                    "kind": one.kind,
                    "similarity": round(one.similarity, 4),
                    "picture": pictures.get(one.row, ""),
                    "picture_kept": pictures.get(one.keeper_row, ""),
                }
                for one in group.duplicates
            ],
        }
        for group in groups
    ]


def _text(report: Report) -> str:
    text = (
        f"{report['model']}: {report['products']:,} products compared, {report['without_vector']:,} have no vector.\n"
        f"Near-duplicate from a similarity of {report['near_duplicate']:.3f}."
    )
    rows: list[tuple[object, ...]] = [("product", "similarity", "kind", "picture", "name")]
    for group in report["groups"]:
        rows.append((group["keep"], "", "keep", group["duplicates"][0]["picture_kept"], group["name"]))
        rows += [
            (f"  {one['product']}", f"{one['similarity']:.4f}", one["kind"], one["picture"], one["name"])
            for one in group["duplicates"]
        ]
    return f"{text}\n\n{table(rows)}" if report["groups"] else text
