"""The settings of the app: one dict named ``SIMILAR_PRODUCTS``, read anew at each use."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

DEFAULT_ENCODER = "similar_products.encoders.TFHubEncoder"
EMBED_ON_SAVE = ("inline", "off", "tasks")
KEYS = ("EMBED_ON_SAVE", "ENCODER", "ISOLATE_DECODER", "REFUSE_BLANK")


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What ``SIMILAR_PRODUCTS`` says, with the defaults filled in."""

    encoder_backend: str
    encoder_options: Mapping[str, Any]
    embed_on_save: str
    isolate_decoder: bool
    refuse_blank: bool


def get_settings() -> AppSettings:
    """Return the settings in force now; raise ``ImproperlyConfigured`` with a sentence for each mistake."""
    given = getattr(settings, "SIMILAR_PRODUCTS", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"SIMILAR_PRODUCTS must be a dict, not {type(given).__name__}.")
    _refuse_unknown("SIMILAR_PRODUCTS", given, KEYS)
    encoder = given.get("ENCODER", {})
    if not isinstance(encoder, Mapping):
        raise ImproperlyConfigured(
            "SIMILAR_PRODUCTS['ENCODER'] must be a dict with BACKEND (a dotted path) and OPTIONS (a dict), "
            f"not {type(encoder).__name__}."
        )
    _refuse_unknown("SIMILAR_PRODUCTS['ENCODER']", encoder, ("BACKEND", "OPTIONS"))
    backend, options = encoder.get("BACKEND", DEFAULT_ENCODER), encoder.get("OPTIONS", {})
    if not isinstance(backend, str) or not isinstance(options, Mapping):
        raise ImproperlyConfigured(
            "SIMILAR_PRODUCTS['ENCODER'] has BACKEND, a dotted path, and OPTIONS, a dict; "
            f"not {backend!r} and {options!r}."
        )
    return AppSettings(
        encoder_backend=backend,
        encoder_options=options,
        embed_on_save=_embed_on_save(given.get("EMBED_ON_SAVE", "inline")),
        isolate_decoder=_flag(given, "ISOLATE_DECODER", default=False),
        refuse_blank=_flag(given, "REFUSE_BLANK", default=True),
    )


def _embed_on_save(value: Any) -> str:
    where = f"SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is {value!r}"
    if value == "tasks" and django.VERSION < (6, 0) and not find_spec("django_tasks"):
        raise ImproperlyConfigured(
            f"{where}, which needs Django 6.0 or the package django-tasks: run "
            "pip install 'django-similar-products[tasks]'."
        )
    if value in EMBED_ON_SAVE:
        return str(value)
    valid = f"valid are {_listed(EMBED_ON_SAVE)} and the dotted path of a function enqueue(model_label, pk, using)"
    if not isinstance(value, str) or "." not in value:
        raise ImproperlyConfigured(f"{where}; {valid}.")
    try:
        enqueue = import_string(value)
    except ImportError as error:
        raise ImproperlyConfigured(f"{where}, which cannot be imported: {error}; {valid}.") from error
    if not callable(enqueue):
        raise ImproperlyConfigured(f"{where}, which cannot be called; {valid}.")
    return value


def _flag(given: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f"SIMILAR_PRODUCTS[{key!r}] is {value!r}; valid are True and False.")
    return value


def _refuse_unknown(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise ImproperlyConfigured(f"{where} has the unknown key {key!r}; known are {_listed(known)}.")


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(repr(value) for value in values)
