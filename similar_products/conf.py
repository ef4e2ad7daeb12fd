"""The settings of the app: one dict named ``SIMILAR_PRODUCTS``, read anew at each use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

DEFAULT_ENCODER = "similar_products.encoders.TFHubEncoder"
EMBED_ON_SAVE = ("inline", "off")
KEYS = ("EMBED_ON_SAVE", "ENCODER")


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What ``SIMILAR_PRODUCTS`` says, with the defaults filled in."""

    encoder_backend: str
    encoder_options: Mapping[str, Any]
    embed_on_save: str


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
    embed_on_save = given.get("EMBED_ON_SAVE", "inline")
    if embed_on_save not in EMBED_ON_SAVE:
        raise ImproperlyConfigured(
            f"SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is {embed_on_save!r}; valid are {_listed(EMBED_ON_SAVE)}."
        )
    return AppSettings(
        encoder_backend=encoder.get("BACKEND", DEFAULT_ENCODER),
        encoder_options=encoder.get("OPTIONS", {}),
        embed_on_save=embed_on_save,
    )


def _refuse_unknown(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise ImproperlyConfigured(f"{where} has the unknown key {key!r}; known are {_listed(known)}.")


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(repr(value) for value in values)
