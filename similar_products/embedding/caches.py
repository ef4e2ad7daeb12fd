"""Packages that keep the results of queries, told of what they cannot see: vectors are not written by the ORM."""

import logging

from django.apps import apps
from django.db import models

logger = logging.getLogger(__name__)


def forget_results(model: type[models.Model], using: str) -> None:
    """Have django-cachalot and django-cacheops, where installed, forget what they keep of queries of ``model``."""
    try:
        if apps.is_installed("cachalot"):
            from cachalot.api import invalidate

            invalidate(model._meta.db_table, db_alias=using)
        if apps.is_installed("cacheops"):
            from cacheops import invalidate_model

            invalidate_model(model, using=using)
    except Exception:  # whatever stands behind the cache: the vectors are written
        logger.warning("The cache of queries did not take that %s has changed.", model._meta.label, exc_info=True)
