"""What may be shown: the one place that tag, API and admin ask."""

from typing import TYPE_CHECKING, Any, cast

from django.db import models
from django.db.models import Exists
from django.utils.module_loading import import_string

from .conf import get_settings
from .query import similar_to
from .search.expressions import Independent

if TYPE_CHECKING:
    from django.http import HttpRequest


def visible_products(
    model: type[models.Model], request: "HttpRequest | None" = None, *, like: models.Model | None = None
) -> "models.QuerySet[Any]":
    """Return the products of ``model`` that ``request`` may see.

    That is what the model's default manager gives, narrowed by the function that ``SIMILAR_PRODUCTS["PRODUCTS"]`` names
    as ``VISIBLE``: it takes a queryset and the request, or ``None`` where there is none, and returns a queryset.
    ``like`` is a product whose database is to be asked.
    """
    manager: Any = model._default_manager
    return only_visible((manager if like is None else manager.db_manager(hints={"instance": like})).all(), request)


def only_visible(products: "models.QuerySet[Any]", request: "HttpRequest | None" = None) -> "models.QuerySet[Any]":
    """Return what of ``products`` the function named as ``VISIBLE`` lets through: all where none is named.

    Raises ``TypeError`` where that function returns something that cannot be filtered any more.
    """
    path = get_settings().product(products.model).visible
    if not path:
        return products
    narrowed: Any = import_string(path)(products, request)
    is_filterable = isinstance(narrowed, models.QuerySet) and not (
        narrowed.query.is_sliced or narrowed.query.combinator
    )
    if not is_filterable or narrowed.model._meta.concrete_model is not products.model._meta.concrete_model:
        raise TypeError(
            f"{path} returned {narrowed if narrowed is None else type(narrowed).__name__}; VISIBLE must return a "
            f"queryset of {products.model._meta.label}, neither sliced nor combined."
        )
    return cast("models.QuerySet[Any]", narrowed)


def visible_and_similar(product: models.Model, request: "HttpRequest | None" = None) -> "models.QuerySet[Any]":
    """Return the visible products similar to ``product``, lazily; none where ``product`` itself is hidden."""
    products = visible_products(product.__class__, request, like=product)
    similar = similar_to(products, product)
    if not products.query.where:  # which hides nothing
        return similar
    # Depends on nothing in the row, so it is asked once and before the scan.
    return similar.filter(Independent(Exists(products.order_by().filter(pk=product.pk))))
