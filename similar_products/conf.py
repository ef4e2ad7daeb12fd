"""The settings of the app: one dict named ``SIMILAR_PRODUCTS``, looked at anew at each use."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

DEFAULT_ENCODER = "similar_products.encoders.TFHubEncoder"
DEFAULT_EF_SEARCH = 40
"""pgvector's own; recall@12 was 0.998 with it on 34,674 real vectors."""
MAX_EF_SEARCH = 1_000
"""pgvector's limit."""
MAX_DIMENSIONS = 4_000
"""The most that pgvector can put into an HNSW index, as halfvec."""
EMBED_ON_SAVE = ("inline", "off", "tasks")
KEYS = (
    *("API", "BANDS", "EF_SEARCH", "EMBED_ON_SAVE", "ENCODER", "FETCH_URLS", "ISOLATE_DECODER", "PRODUCTS"),
    "REFUSE_BLANK",
)
API_KEYS = ("FILTERSET", "FRAGMENT_MAX_AGE", "MAX_INFERENCES", "MODEL", "SERIALIZER")
PRODUCT_KEYS = ("FALLBACK", "THROUGH", "VARIANTS", "VISIBLE")


NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ProductSettings:
    """What ``SIMILAR_PRODUCTS["PRODUCTS"]`` says of one product model; '' where it says nothing.

    ``through``: the path of relations to the model with the vectors. ``variants``: the field that variants of one
    product share. ``visible``: the dotted path of a function that narrows a queryset to what may be shown.
    ``fallback``: that of a function whose products fill up the API's answers where too few are similar.
    """

    fallback: str = ""
    through: str = ""
    variants: str = ""
    visible: str = ""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What ``SIMILAR_PRODUCTS["API"]`` says.

    ``model``: the product model of the ready-made URLs, ``serializer`` the dotted path of its serializer, and
    ``filterset`` that of a ``FilterSet``, or the names of the fields that may be filtered on. ``max_inferences``: so
    many photos one process takes at once; fewer than it has threads, or pages wait behind photos.
    ``fragment_max_age``: seconds for which a browser keeps a fragment.
    """

    model: str = ""
    serializer: str = ""
    filterset: str | tuple[str, ...] = ""
    max_inferences: int = 1
    fragment_max_age: int = 60


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What ``SIMILAR_PRODUCTS`` says, with the defaults filled in."""

    api: ApiSettings
    bands: Path | None
    encoder_backend: str
    encoder_options: Mapping[str, Any]
    embed_on_save: str
    fetch_urls: bool
    isolate_decoder: bool
    refuse_blank: bool
    ef_search: int
    products: Mapping[str, ProductSettings]

    def product(self, model: type) -> ProductSettings:
        """Return what is set for a product model, or else for the nearest model that it is a proxy or child of."""
        for ancestor in model.__mro__:
            label = getattr(getattr(ancestor, "_meta", None), "label_lower", "")
            if label in self.products:
                return self.products[label]
        return ProductSettings()


_last: tuple[Any, str, AppSettings] | None = None
"""The dict that was read last, its text and what it says: a page asks nine times."""


def get_settings() -> AppSettings:
    """Return the settings in force now; raise ``ImproperlyConfigured`` with a sentence for each mistake."""
    global _last
    given = getattr(settings, "SIMILAR_PRODUCTS", NOTHING)
    text, last = repr(given), _last
    if last is None or last[0] is not given or last[1] != text:
        last = _last = (given, text, _meaning(given))
    return last[2]


def _meaning(given: Any) -> AppSettings:
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
        api=_api(given.get("API", {})),
        bands=_bands(given.get("BANDS")),
        encoder_backend=backend,
        encoder_options=options,
        embed_on_save=_embed_on_save(given.get("EMBED_ON_SAVE", "inline")),
        fetch_urls=_flag(given, "FETCH_URLS", default=False),
        isolate_decoder=_flag(given, "ISOLATE_DECODER", default=False),
        refuse_blank=_flag(given, "REFUSE_BLANK", default=True),
        ef_search=_ef_search(given.get("EF_SEARCH", DEFAULT_EF_SEARCH)),
        products=_products(given.get("PRODUCTS", {})),
    )


def _api(value: Any) -> ApiSettings:
    where = "SIMILAR_PRODUCTS['API']"
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(
            f"{where} must be a dict, as in {{'MODEL': 'shop.Product'}}, not {type(value).__name__}."
        )
    _refuse_unknown(where, value, API_KEYS)
    options = {key.lower(): option for key, option in value.items()}
    for key, option in options.items():
        is_valid, valid = isinstance(option, str), "text"
        if key == "filterset":
            valid = "the dotted path of a FilterSet and a list of names of fields"
            if isinstance(option, list | tuple) and all(isinstance(name, str) for name in option):
                options[key], is_valid = tuple(option), True
        elif key in ("max_inferences", "fragment_max_age"):
            least = 1 if key == "max_inferences" else 0
            valid = f"whole numbers from {least}"
            is_valid = isinstance(option, int) and not isinstance(option, bool) and option >= least
        if not is_valid:
            raise ImproperlyConfigured(f"{where}[{key.upper()!r}] is {option!r}; valid: {valid}.")
    return ApiSettings(**options)


def _bands(value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ImproperlyConfigured(
            f"SIMILAR_PRODUCTS['BANDS'] is {value!r}; valid are the path of a JSON file that calibrate_similarity "
            "writes, and None."
        )
    return Path(value)


def _embed_on_save(value: Any) -> str:
    where = f"SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is {value!r}"
    if value == "tasks" and django.VERSION < (6, 0) and not find_spec("django_tasks"):
        raise ImproperlyConfigured(
            f"{where}, which needs Django 6.0 or the package django-tasks: run "
            "pip install 'django-similar-products[tasks]'."
        )
    if value in EMBED_ON_SAVE:
        return str(value)
    valid = f"valid are {listed(EMBED_ON_SAVE)} and the dotted path of a function enqueue(model_label, pk, using)"
    if not isinstance(value, str) or "." not in value:
        raise ImproperlyConfigured(f"{where}; {valid}.")
    try:
        enqueue = import_string(value)
    except ImportError as error:
        raise ImproperlyConfigured(f"{where}, which cannot be imported: {error}; {valid}.") from error
    if not callable(enqueue):
        raise ImproperlyConfigured(f"{where}, which cannot be called; {valid}.")
    return value


def _ef_search(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_EF_SEARCH:
        raise ImproperlyConfigured(
            f"SIMILAR_PRODUCTS['EF_SEARCH'] is {value!r}; valid are whole numbers from 1 to {MAX_EF_SEARCH}: more finds"
            " more of the truly nearest and takes longer."
        )
    return value


def _products(value: Any) -> dict[str, ProductSettings]:
    where = "SIMILAR_PRODUCTS['PRODUCTS']"
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(
            f"{where} must be a dict from model to a dict, as in {{'shop.Product': {{'VISIBLE': ...}}}}, "
            f"not {type(value).__name__}."
        )
    products = {}
    for label, given in value.items():
        if not isinstance(label, str) or not isinstance(given, Mapping):
            raise ImproperlyConfigured(
                f"{where} has the entry {label!r}: {given!r}; valid is a model's label as in 'shop.Product' with a "
                "dict."
            )
        _refuse_unknown(f"{where}[{label!r}]", given, PRODUCT_KEYS)
        for key, text in given.items():
            if not isinstance(text, str):
                raise ImproperlyConfigured(f"{where}[{label!r}][{key!r}] is {text!r}; valid is text.")
        products[label.lower()] = ProductSettings(**{key.lower(): text for key, text in given.items()})
    return products


def _flag(given: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f"SIMILAR_PRODUCTS[{key!r}] is {value!r}; valid are True and False.")
    return value


def _refuse_unknown(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise ImproperlyConfigured(f"{where} has the unknown key {key!r}; known are {listed(known)}.")


def listed(values: Iterable[str]) -> str:
    """Return names as a sentence has them, quoted and with commas."""
    return ", ".join(repr(value) for value in values)
