"""One catalogue in each of the four placements, and what similar_to must find in it, worked out in numpy."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db import models

from similar_products.models import VisuallySimilarModel
from similar_products.query import similar_to
from similar_products.search.placement import get_placement
from tests.models import Chair, ChairPhoto, Rug, RugPhoto, RugPhotoLook, Shirt, Vase, VaseLook

ENCODER = "color-histogram-1280"
DIMENSIONS = 1280


def vector(*values: float) -> np.ndarray:
    """Return float32 [1280] of norm 1 with ``values`` in front."""
    full = np.zeros(DIMENSIONS)
    full[: len(values)] = values
    return (full / np.linalg.norm(full)).astype(np.float32)


def at_angle(angle: float) -> np.ndarray:
    """Return a vector at ``angle`` radians to the first axis: cosine distances are 1 - cos of differences."""
    return vector(np.cos(angle), np.sin(angle))


def along(axis: int) -> np.ndarray:
    """Return the vector along one axis; it is as far as can be from those of ``at_angle`` for an axis above 1."""
    return vector(*np.eye(axis + 1)[axis])


@dataclass
class Picture:
    vector: np.ndarray
    encoder: str = ENCODER
    is_stale: bool = False


@dataclass
class Item:
    """A product as the tests mean it; ``row`` is what the database made of it."""

    name: str
    pictures: list[Picture] = field(default_factory=list)
    row: Any = None

    def vectors(self, encoder: str) -> list[np.ndarray]:
        return [
            picture.vector.astype(np.float64)
            for picture in self.pictures
            if picture.encoder == encoder and not picture.is_stale
        ]


def _derived(picture: Picture, image: str) -> dict[str, Any]:
    image = f"old-{image}" if picture.is_stale else image
    return {"embedding": picture.vector, "embedding_source": f"{picture.encoder}|{image}"}


def _fill_products(items: Sequence[Item]) -> None:
    made = Shirt.objects.bulk_create(
        Shirt(name=item.name, image=f"{item.name}.png", **(_derived(item.pictures[0], f"{item.name}.png")))
        if item.pictures
        else Shirt(name=item.name)
        for item in items
    )
    for item, row in zip(items, made, strict=True):
        item.row = Shirt.objects.get(pk=row.pk)


def _fill_companions(items: Sequence[Item]) -> None:
    for item, row in zip(
        items,
        Vase.objects.bulk_create(
            Vase(name=item.name, image=f"{item.name}.png" if item.pictures else "") for item in items
        ),
        strict=True,
    ):
        item.row = row
    VaseLook.objects.bulk_create(
        VaseLook(vase=item.row, **_derived(item.pictures[0], f"{item.name}.png")) for item in items if item.pictures
    )


def _fill_pictures(items: Sequence[Item]) -> None:
    for item, row in zip(items, Chair.objects.bulk_create(Chair(name=item.name) for item in items), strict=True):
        item.row = row
    ChairPhoto.objects.bulk_create(
        ChairPhoto(chair=item.row, image=image, **_derived(picture, image))
        for item in items
        for picture, image in _named(item)
    )


def _fill_companions_of_pictures(items: Sequence[Item]) -> None:
    for item, row in zip(items, Rug.objects.bulk_create(Rug(name=item.name) for item in items), strict=True):
        item.row = row
    for item in items:
        photos = RugPhoto.objects.bulk_create(RugPhoto(rug=item.row, image=image) for _, image in _named(item))
        RugPhotoLook.objects.bulk_create(
            RugPhotoLook(photo=photo, **_derived(picture, image))
            for photo, (picture, image) in zip(photos, _named(item), strict=True)
        )


def _named(item: Item) -> list[tuple[Picture, str]]:
    return [(picture, f"{item.name}-{number}.png") for number, picture in enumerate(item.pictures)]


@dataclass(frozen=True)
class Catalogue:
    """One placement: the product model, how it is filled, and the index that must be used."""

    model: type[models.Model]
    fill: Callable[[Sequence[Item]], None]
    index: str
    several: bool

    @property
    def holder(self) -> type[VisuallySimilarModel]:
        return get_placement(self.model).holder

    def similar_to(self, target: Any, queryset: Any = None, **options: Any) -> Any:
        return similar_to(self.model._default_manager.all() if queryset is None else queryset, target, **options)


CATALOGUES = {
    "product": Catalogue(Shirt, _fill_products, "shirt_9a438cef_hnsw", several=False),
    "companion": Catalogue(Vase, _fill_companions, "vaselook_8b0443f7_hnsw", several=False),
    "pictures": Catalogue(Chair, _fill_pictures, "chairphoto", several=True),
    "companions of pictures": Catalogue(Rug, _fill_companions_of_pictures, "rugphotolook", several=True),
}


def add_shirt(name: str, angle: float | None, *, encoder: str = ENCODER, image: str = "", **values: Any) -> Shirt:
    """Make a product whose current vector is at ``angle``; one without a vector for None."""
    image = image or f"shirts/{name}.png"
    vector = None if angle is None else at_angle(angle)
    (row,) = Shirt.objects.bulk_create(
        [Shirt(name=name, image=image, embedding=vector, embedding_source=f"{encoder}|{image}", **values)]
    )
    made: Shirt = Shirt.objects.get(pk=row.pk)
    return made


def add_vase(name: str, angle: float, *, stock: int = 1, encoder: str = ENCODER) -> Vase:
    """Make a product whose companion's current vector is at ``angle``."""
    row = Vase.objects.create(name=name, stock=stock)
    Vase.objects.filter(pk=row.pk).update(image=f"vases/{name}.png")
    VaseLook.objects.bulk_create(
        [VaseLook(vase=row, embedding=at_angle(angle), embedding_source=f"{encoder}|vases/{name}.png")]
    )
    made: Vase = Vase.objects.get(pk=row.pk)
    return made


def mean_of(weighted: Iterable[tuple[Item, float]], encoder: str) -> np.ndarray | None:
    """Return the weighted mean of the items' own means, at norm 1."""
    total = np.zeros(DIMENSIONS)
    for item, weight in weighted:
        if vectors := item.vectors(encoder):
            total += weight * np.mean(vectors, axis=0)
    norm = np.linalg.norm(total)
    return total / norm if norm > 1e-6 else None


def encoder_of(items: Iterable[Item]) -> str | None:
    """Return the encoder that most of the current pictures are of."""
    counts = Counter(picture.encoder for item in items for picture in item.pictures if not picture.is_stale)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def nearest(items: Sequence[Item], wanted: np.ndarray, encoder: str) -> list[tuple[float, Any, str]]:
    """Return (distance, key, matched picture) of every item, nearest first: brute force."""
    found = []
    for item in items:
        distances = [
            (1 - float(picture.vector.astype(np.float64) @ wanted), image)
            for picture, image in _named(item)
            if picture.encoder == encoder and not picture.is_stale
        ]
        if distances:
            distance, image = min(distances, key=lambda pair: pair[0])
            found.append((distance, item.row.pk, image))
    return sorted(found, key=lambda entry: entry[:2])


def filled(catalogue: Catalogue, *angles: float) -> list[Item]:
    """Return products at these angles; where there are several pictures, each has one more, far from all."""
    items = [
        Item(
            f"item {number:02}",
            [Picture(at_angle(angle)), *([Picture(along(number + 2))] if catalogue.several else [])],
        )
        for number, angle in enumerate(angles)
    ]
    catalogue.fill(items)
    return items
