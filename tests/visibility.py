"""What a shop writes to say which of its products may be shown."""

from django.db.models import QuerySet
from django.http import HttpRequest


def published(products: QuerySet, request: HttpRequest | None) -> QuerySet:
    """Return the published products; staff sees all of them."""
    if request is not None and getattr(request, "user", None) is not None and request.user.is_staff:
        return products
    return products.filter(published=True)
