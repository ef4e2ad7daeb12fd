"""The products of a catalogue as a person sees them: keys, rows, and their pictures through the gate."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

from django.core.files.storage import Storage
from django.db.models import Model, QuerySet

from ..encoders import get_encoder
from ..pictures.ahead import map_ahead
from ..pictures.gate import ImageRejected, Pixels, load_stored_pixels
from ..query import all_rows
from ..search.placement import get_placement
from .neighbours import Catalogue, Positions, Progress, current_rows, ignore_progress, split

ItemT = TypeVar("ItemT")
ModelT = TypeVar("ModelT", bound=Model)
ResultT = TypeVar("ResultT")

KEYS_PER_QUERY = 1_000
PICTURES_AHEAD = 64


def ready_keys(products: QuerySet[Model], *, using: str) -> list[Hashable]:
    """Return the keys of those of ``products`` that have a current vector of the encoder in the settings, ascending."""
    owner = get_placement(products.model).owner
    rows = current_rows(products, get_encoder().name, using).order_by(owner)
    return list(rows.values_list(owner, flat=True).distinct())


def read_products(products: QuerySet[ModelT], keys: Sequence[Hashable]) -> dict[Hashable, ModelT]:
    """Return the products of these keys by key, without those that are gone meanwhile."""
    return {product.pk: product for page in pages(keys) for product in products.filter(pk__in=page)}


def picture_names(catalogue: Catalogue, model: type[Model], rows: Positions, using: str) -> Iterator[tuple[int, str]]:
    """Yield the rows with the names of their pictures, asked for page by page; what is gone meanwhile is left out."""
    placement = get_placement(model)
    for page in split(rows, KEYS_PER_QUERY):
        keys = catalogue.keys[page].tolist()
        holders = all_rows(placement.holder, using).filter(pk__in=keys)
        names = dict(holders.values_list("pk", placement.holder_image))
        yield from ((int(row), names[key]) for row, key in zip(page, keys, strict=True) if names.get(key))


def read_pictures(
    storage: Storage,
    names: Sequence[str],
    size: int,
    use: Callable[[Pixels | str], ResultT],
    *,
    on_progress: Progress = ignore_progress,
) -> list[ResultT]:
    """Return what ``use`` makes of each picture, in the order of their names; it is called in threads.

    It gets the picture through the gate, uint8 ``[size, size, 3]``: the square that encoders are given. Of one that
    cannot be used it gets the code instead; an empty name is ``"missing_file"``.
    """

    def read(name: str) -> ResultT:
        picture: Pixels | str = "missing_file"
        try:
            if name:
                picture = load_stored_pixels(storage, name, size)
        except ImageRejected as rejected:
            picture = rejected.code
        return use(picture)

    results: list[ResultT] = []
    with closing(map_ahead(read, names, ahead=PICTURES_AHEAD)) as pictures:
        for result in pictures:
            results.append(result)
            on_progress(1)
    return results


def pages(keys: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """Yield ``keys`` in parts of a size that one query takes."""
    return (keys[start : start + KEYS_PER_QUERY] for start in range(0, len(keys), KEYS_PER_QUERY))
