import csv
import io
import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.db import models

from ...catalogue.clusters import Clusters, cluster, count_steps, load_scikit_learn, usual_number
from ...catalogue.neighbours import Catalogue
from ...catalogue.products import picture_names, read_products
from ..arguments import (
    filter_by,
    positive,
    table,
    writable_file,
    write_files,
)
from ..base import (
    CatalogueCommand,
    add_output,
    add_seed,
    add_where,
    read_embedded,
)

FORMATS = ("table", "json", "csv")


class Command(CatalogueCommand):
    help = (
        "Put the products into groups that look alike, the greatest first, each with the product that stands for it: "
        "the one that is most like the others of its group. Only products that an anonymous visitor may see take part; "
        "nothing is stored. Needs scikit-learn."
    )

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--groups", type=positive, metavar="N", help="Number of groups (the square root of half the products)."
        )
        add_seed(parser)
        add_where(parser)
        parser.add_argument(
            "--format",
            choices=FORMATS,
            default="table",
            help="A table of the groups, or with all their products as JSON or CSV (table).",
        )
        add_output(parser)

    def run(
        self,
        *,
        groups: int | None,
        seed: int,
        where: Sequence[tuple[str, Any]],
        format: str,  # noqa: A002  the option's name
        output: Path | None,
    ) -> None:
        path = None if output is None else writable_file(output)
        load_scikit_learn()
        products = filter_by(self.get_products(), where, "--where")
        catalogue = read_embedded(products, is_narrowed=bool(where))
        count = len(catalogue.owners)
        groups = groups or usual_number(count)
        with self.progress("groups", count_steps(count, groups), "products") as advance:
            found = cluster(catalogue, groups=groups, seed=seed, on_progress=advance)
        text = {"table": _table, "json": _json, "csv": _csv}[format](found, catalogue, products)
        if path is not None:
            write_files({path: text.encode()})
        if path is None:
            self.stdout.write(text)
        else:
            self.say(f"{len(found.medoids):,} groups of {count:,} products are in {path}.")


def _members(found: Clusters) -> list[Any]:
    """Return the positions of the products of each group, the most like its medoid first."""
    order = np.lexsort((-found.similarities, found.labels))
    return np.split(order, np.flatnonzero(np.diff(found.labels[order])) + 1)


def _medoids(found: Clusters, catalogue: Catalogue, products: "models.QuerySet[Any]") -> list[tuple[Any, str, str]]:
    """Return key, name and picture of the product that stands for each group."""
    keys = catalogue.owners[found.medoids].tolist()
    named = read_products(products, keys)
    rows = catalogue.starts[found.medoids]
    picture_of = dict(picture_names(catalogue, products.model, rows, products.db))
    return [
        (key, str(named.get(key, "")), picture_of.get(row, "")) for key, row in zip(keys, rows.tolist(), strict=True)
    ]


def _table(found: Clusters, catalogue: Catalogue, products: "models.QuerySet[Any]") -> str:
    rows: list[list[Any]] = [["group", "products", "similarity", "stands for it", "picture", "name"]]
    for number, (members, (key, name, picture)) in enumerate(
        zip(_members(found), _medoids(found, catalogue, products), strict=True), 1
    ):
        rows.append([number, f"{len(members):,}", f"{found.similarities[members].mean():.3f}", key, picture, name])
    return (
        f"{products.model._meta.label}: {len(catalogue.owners):,} products in {len(found.medoids):,} groups. "
        f"Similarity is the mean to the product that stands for the group.\n\n{table(rows)}"
    )


def _json(found: Clusters, catalogue: Catalogue, products: "models.QuerySet[Any]") -> str:
    owners = catalogue.owners.tolist()
    groups = [
        {
            "medoid": key,
            "name": name,
            "picture": picture,
            "products": [
                {"product": owners[member], "similarity": round(float(found.similarities[member]), 4)}
                for member in members.tolist()
            ],
        }
        for members, (key, name, picture) in zip(_members(found), _medoids(found, catalogue, products), strict=True)
    ]
    return json.dumps({"model": products.model._meta.label, "groups": groups}, indent=2, default=str)


def _csv(found: Clusters, catalogue: Catalogue, products: "models.QuerySet[Any]") -> str:
    owners, text = catalogue.owners.tolist(), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("group", "product", "similarity", "medoid"))
    for number, (members, medoid) in enumerate(zip(_members(found), found.medoids.tolist(), strict=True), 1):
        writer.writerows(
            (number, owners[member], f"{found.similarities[member]:.4f}", owners[medoid]) for member in members.tolist()
        )
    return text.getvalue()
