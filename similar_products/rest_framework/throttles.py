"""Throttles that are on by default; a shop sets other rates under their scopes in ``DEFAULT_THROTTLE_RATES``."""

import hashlib
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import UserRateThrottle


class SimilarProductsThrottle(UserRateThrottle):
    """For each user, or address where nobody is logged in: 120 a minute; a rate of ``None`` switches it off."""

    scope = "similar_products"
    default_rate: ClassVar[str] = "120/min"

    def get_ident(self, request: Request) -> str:
        # What stands in a header may be longer than a key of the cache, and have characters that none may have.
        return hashlib.sha256(str(super().get_ident(request)).encode(errors="replace")).hexdigest()

    def get_rate(self) -> str | None:
        # DRF reads its setting when the class is made, and knows no default for a scope.
        rates: Any = api_settings.DEFAULT_THROTTLE_RATES
        rate: str | None = rates.get(self.scope, self.default_rate)
        return rate


class VisualSearchThrottle(SimilarProductsThrottle):
    """For photos, each of which keeps a processor busy: 20 a minute."""

    scope = "similar_products_search"
    default_rate = "20/min"
