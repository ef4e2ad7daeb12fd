import csv
import io
import json
from argparse import ArgumentParser
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from django.db.models import Model, QuerySet

from ...catalogue.clusters import Clusters, cluster, count_steps, load_scikit_learn, usual_number
from ...catalogue.neighbours import Catalogue
from ...catalogue.products import picture_names, read_products
from ..arguments import Condition, add_output, add_seed, add_where, filter_by, positive
from ..base import CatalogueCommand, read_embedded
from ..output import table, writable_file


class Command(CatalogueCommand):
    help = (
        "Put the products into groups that look alike, the largest first, each with the product that stands for it: "
        "the one that is most like the others of its group. Only products that an anonymous visitor may see take part; "
        "nothing is stored. Needs scikit-learn."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "Number of groups (the square root of half the products)."
        parser.add_argument("--groups", type=positive, metavar="N", help=text)
        add_seed(parser)
        add_where(parser)
        text = "A table of the groups, or JSON or CSV with all their products (table)."
        parser.add_argument("--format", choices=FORMATS, default="table", help=text)
        add_output(parser, default="standard output")

    def handle(
        self,
        *,
        groups: int | None,
        seed: int,
        where: Sequence[Condition],
        format: str,  # noqa: A002  the option's name
        output: Path | None,
        **options: object,
    ) -> None:
        path = output and writable_file(output)
        load_scikit_learn()
        products = filter_by(self.get_products(), where, "--where")
        catalogue = read_embedded(products, is_narrowed=bool(where))
        count = len(catalogue.owners)
        groups = groups or usual_number(count)
        with self.progress("groups", count_steps(count, groups), "products") as advance:
            found = cluster(catalogue, groups=groups, seed=seed, on_progress=advance)
        text = FORMATS[format](list(_groups(found, catalogue, products)), products.model._meta.label)
        self.write_output([text] if path or text.endswith("\n") else [text, "\n"], path)
        if path is not None:
            self.say(f"{len(found.medoids):,} groups of {count:,} products are in {path}.")


class Group(NamedTuple):
    """Products that look alike, the most like the medoid first, which stands for them."""

    medoid: Hashable
    name: str
    picture: str
    members: list[Hashable]
    similarities: list[float]


def _groups(found: Clusters, catalogue: Catalogue, products: QuerySet[Model]) -> Iterator[Group]:
    keys = catalogue.owners[found.medoids].tolist()
    named = read_products(products, keys)
    rows = catalogue.starts[found.medoids]
    picture_of = dict(picture_names(catalogue, products.model, rows, products.db))
    order = np.lexsort((-found.similarities, found.labels))
    parts = np.split(order, np.flatnonzero(np.diff(found.labels[order])) + 1)
    for key, row, part in zip(keys, rows.tolist(), parts, strict=True):
        members, similarities = catalogue.owners[part].tolist(), found.similarities[part].tolist()
        yield Group(key, str(named.get(key, "")), picture_of.get(row, ""), members, similarities)


def _table(groups: Sequence[Group], label: str) -> str:
    rows: list[tuple[object, ...]] = [("group", "products", "similarity", "stands for it", "picture", "name")]
    for number, (medoid, name, picture, members, similarities) in enumerate(groups, 1):
        rows.append((number, f"{len(members):,}", f"{np.mean(similarities):.3f}", medoid, picture, name))
    return (
        f"{label}: {sum(len(group.members) for group in groups):,} products in {len(groups):,} groups. "
        f"Similarity is the mean to the product that stands for the group.\n\n{table(rows)}"
    )


def _json(groups: Sequence[Group], label: str) -> str:
    entries = [
        {
            "medoid": group.medoid,
            "name": group.name,
            "picture": group.picture,
            "products": [
                {"product": key, "similarity": round(similarity, 4)}
                for key, similarity in zip(group.members, group.similarities, strict=True)
            ],
        }
        for group in groups
    ]
    return json.dumps({"model": label, "groups": entries}, indent=2, default=str)


def _csv(groups: Sequence[Group], label: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("group", "product", "similarity", "medoid"))
    for number, group in enumerate(groups, 1):
        for key, similarity in zip(group.members, group.similarities, strict=True):
            writer.writerow((number, key, f"{similarity:.4f}", group.medoid))
    return text.getvalue()


FORMATS = {"table": _table, "json": _json, "csv": _csv}
