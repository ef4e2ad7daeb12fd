"""django-import-export: derived columns in no spreadsheet, since a resource takes every column unless told."""

from functools import wraps
from typing import Any

from .models import VisuallySimilarModel
from .search.placement import DERIVED_FIELDS


def leave_out_derived_columns() -> None:
    """Have resources of models with vectors leave the derived columns out, unless their ``fields`` name them.

    A vector is 9 KB of text, fetched row by row, and what an old file says of a picture may not be true any more.
    """
    from import_export.resources import ModelResource

    make = ModelResource.__init__
    if hasattr(make, "leaves_out_derived_columns"):  # when the apps were set up before
        return

    @wraps(make)
    def make_without(resource: Any, *args: Any, **kwargs: Any) -> None:
        make(resource, *args, **kwargs)
        options = resource._meta
        if options.model is not None and issubclass(options.model, VisuallySimilarModel):
            for name in DERIVED_FIELDS:
                if name not in (options.fields or ()):
                    resource.fields.pop(name, None)

    make_without.leaves_out_derived_columns = True  # type: ignore[attr-defined]
    ModelResource.__init__ = make_without
