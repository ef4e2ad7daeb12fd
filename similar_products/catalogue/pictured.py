"""What a person is shown of products that have a vector: keys, names, labels, and pictures through the gate."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.core.files.storage import Storage
from django.db.models import QuerySet
from django.db.models.constants import LOOKUP_SEP

from ..pictures.gate import ImageRejected, Pixels, load_stored_pixels
from ..search.placement import get_placement
from .neighbours import CatalogueError

T = TypeVar("T")

KEYS_PER_QUERY = 1_000


def ready_keys(products: QuerySet[Any], *, using: str) -> list[Any]:
    """Return the keys of those of ``products`` that have a current vector of the encoder in the settings, ascending."""
    placement = get_placement(products.model)
    holders: Any = placement.holder._base_manager.using(using)
    ready = holders.ready().filter(**{f"{placement.owner}__in": products.order_by().values("pk")})
    return list(ready.order_by(placement.owner).values_list(placement.owner, flat=True).distinct())


def read_products(products: QuerySet[Any], keys: Sequence[Any]) -> dict[Any, Any]:
    """Return the products of these keys by key, without those that are gone meanwhile."""
    found: dict[Any, Any] = {}
    for page in _pages(keys):
        found |= {product.pk: product for product in products.filter(pk__in=page)}
    return found


def read_label_texts(products: QuerySet[Any], field: str, keys: Sequence[Any]) -> dict[Any, str]:
    """Return what the path ``field`` leads to from each product, as a person reads it, by key; '' for none.

    That is the text of the object that a relation leads to, the name of a choice, and of several the first by
    alphabet. Raises ``CatalogueError`` where the path leads nowhere.
    """
    values: dict[Any, list[Any]] = {key: [] for key in keys}
    try:
        for page in _pages(keys):
            for key, value in products.filter(pk__in=page).order_by().values_list("pk", field):
                values[key] += value if isinstance(value, list | tuple | set) else [value]
    except (FieldError, ValueError) as error:  # a ValueError: of what no name has, as a space
        label = products.model._meta.label
        raise CatalogueError(f"{label} cannot be shown by {field!r}: {error}") from error
    last = _field_at_end(products.model, field)
    text_of: dict[Any, str]
    if last is not None and last.is_relation:
        ends = {value for found in values.values() for value in found if value is not None}
        text_of = _texts_of_related(products, last, ends)
    else:
        text_of = {value: str(name) for value, name in getattr(last, "flatchoices", None) or ()}
    return {
        key: min(filter(None, (_text(value, text_of) for value in found)), default="") for key, found in values.items()
    }


def _text(value: Any, text_of: dict[Any, str]) -> str:
    if value is None:
        return ""
    try:
        return text_of.get(value, str(value))
    except TypeError:  # JSON, a vector
        return str(value)


def _field_at_end(model: Any, path: str) -> Any:
    """Return the field at the end of the path, or ``None`` where it ends in a transform or an annotation."""
    field = None
    for name in path.split(LOOKUP_SEP):
        try:
            field = model._meta.pk if name == "pk" else model._meta.get_field(name)
        except (FieldDoesNotExist, AttributeError):
            return None
        model = field.related_model
    return field


def _texts_of_related(products: QuerySet[Any], field: Any, values: set[Any]) -> dict[Any, str]:
    # A foreign key may point to another field than the key; whatever it is, the value holds that.
    name = field.target_field.attname if field.concrete and not field.many_to_many else "pk"
    related = field.related_model._base_manager.using(products.db)
    return {
        getattr(one, name): str(one)
        for page in _pages(sorted(values, key=str))
        for one in related.filter(**{f"{name}__in": page})
    }


def read_pictures(
    storage: Storage,
    names: Sequence[str],
    size: int,
    use: Callable[[Pixels | str], T],
    *,
    on_progress: Callable[[int], object] | None = None,
) -> list[T]:
    """Return what ``use`` makes of each picture, in the order of their names; it is called in threads.

    It gets the picture through the gate, uint8 ``[size, size, 3]``: the square that encoders are given. Of one that
    cannot be used it gets the code instead; an empty name is ``"missing_file"``.
    """
    threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
    results: list[T] = []
    try:
        for result in threads.map(lambda name: use(_pixels(storage, name, size)), names):
            results.append(result)
            if on_progress:
                on_progress(1)
    finally:
        threads.shutdown(cancel_futures=True)
    return results


def _pixels(storage: Storage, name: str, size: int) -> Pixels | str:
    if not name:
        return "missing_file"
    try:
        return load_stored_pixels(storage, name, size)
    except ImageRejected as rejected:
        return rejected.code


def _pages(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (keys[start : start + KEYS_PER_QUERY] for start in range(0, len(keys), KEYS_PER_QUERY))
