"""``{% similar_products product limit=6 %}``: the products that look like one, on its page."""

import logging
from collections.abc import Iterable
from typing import Any, cast

from django import template
from django.conf import settings
from django.db import models, transaction
from django.template.base import FilterExpression, Node, Parser, Token, token_kwargs
from django.template.context import Context

from ..query import SimilarManager, get_placement

logger = logging.getLogger("similar_products.templatetags")
register = template.Library()

USAGE = "{% similar_products PRODUCT [limit=6] [template='...'] [as NAME] %}"
DEFAULT_LIMIT = 6
DEFAULT_TEMPLATE = "similar_products/similar_products.html"


class SimilarProductsNode(Node):
    """Renders the products similar to one, or keeps the queryset under a name."""

    child_nodelists = ()

    def __init__(self, product: FilterExpression, options: dict[str, FilterExpression], name: str) -> None:
        self.product = product
        self.options = options
        self.name = name

    def render(self, context: Context) -> str:
        product = self.product.resolve(context)
        options = {key: value.resolve(context) for key, value in self.options.items()}
        similar = find_similar(product, options.get("limit", DEFAULT_LIMIT))
        if self.name:
            context[self.name] = similar
            return ""
        engine: Any = context.template.engine  # type: ignore[union-attr]
        chosen = engine.get_template(options.get("template", DEFAULT_TEMPLATE))
        try:
            with context.push(product=product, similar_products=similar):
                return str(chosen.render(context))
        except Exception:
            if settings.DEBUG:
                raise
            logger.exception("The products similar to %r could not be rendered.", product)
            return ""


@register.tag
def similar_products(parser: Parser, token: Token) -> SimilarProductsNode:
    """Compile ``{% similar_products product limit=6 as name %}``; see the module."""
    tag, *bits = token.split_contents()
    name = ""
    if len(bits) >= 2 and bits[-2] == "as":
        name = bits[-1]
        bits = bits[:-2]
    if not bits:
        raise template.TemplateSyntaxError(f"{tag!r} needs a product: {USAGE}")
    product = parser.compile_filter(bits.pop(0))
    options = token_kwargs(bits, parser)
    unknown = [*bits, *(key for key in options if key not in ("limit", "template"))]
    if unknown:
        raise template.TemplateSyntaxError(f"{tag!r} does not know {unknown[0]!r}: {USAGE}")
    return SimilarProductsNode(product, options, name)


@register.filter
def product_picture(product: models.Model) -> Any:
    """Return the picture of a product as its file field gives it, wherever its vectors stand."""
    placement = get_placement(product.__class__, _through(product))
    picture: Any = product
    for name in placement.product_image.split("__"):
        picture = getattr(picture, name, None)
    return picture


def find_similar(product: Any, limit: Any) -> Iterable[Any]:
    """Return the evaluated queryset of at most ``limit`` products similar to ``product``.

    With DEBUG off nothing that goes wrong breaks the page: the error is logged, a savepoint keeps an open
    transaction usable, and the result is empty.
    """
    try:
        similar = _manager(product).db_manager(hints={"instance": product}).similar_to(product)[: int(limit)]
        connection = transaction.get_connection(similar.db)
        if connection.in_atomic_block:
            with transaction.atomic(using=similar.db):
                found = len(similar)
        else:
            found = len(similar)
    except Exception:
        if settings.DEBUG:
            raise
        logger.exception("No similar products for %r.", product)
        return _manager_or_none(product)
    if not found:
        logger.info("No similar products for %r: it has no current vector, or nothing to compare with.", product)
    return cast("Iterable[Any]", similar)


def _manager(product: Any) -> Any:
    manager = getattr(product.__class__, "_default_manager", None)  # of a lazy object: the class it stands for
    if not isinstance(manager, SimilarManager):
        raise TypeError(
            f"{{% similar_products %}} takes a product whose default manager is a SimilarManager, "
            f"not {type(product).__name__}."
        )
    return manager


def _manager_or_none(product: Any) -> Iterable[Any]:
    manager = getattr(product.__class__, "_default_manager", None)
    return manager.none() if manager else []


def _through(product: models.Model) -> str:
    return getattr(product.__class__._default_manager, "_through", "")
