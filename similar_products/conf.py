"""The settings of the app: one dict named ``SIMILAR_PRODUCTS``, looked at anew at each use."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

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
    ``filterset`` that of a ``FilterSet``, or the names of the fields that may be filtered on. ``max_inferences``: the
    maximum number of photos that one process encodes at once; fewer than it has threads, or pages wait behind photos.
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

    api: ApiSettings = ApiSettings()
    bands: Path | None = None
    ef_search: int = DEFAULT_EF_SEARCH
    embed_on_save: str = "inline"
    encoder_backend: str = DEFAULT_ENCODER
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    fetch_urls: bool = False
    isolate_decoder: bool = False
    model_cache: Path | None = None
    products: Mapping[str, ProductSettings] = field(default_factory=dict)
    refuse_blank: bool = True

    def product(self, model: type) -> ProductSettings:
        """Return what is set for a product model, or else for the nearest model that it is a proxy or child of."""
        for ancestor in model.__mro__:
            label = getattr(getattr(ancestor, "_meta", None), "label_lower", "")
            if label in self.products:
                return self.products[label]
        return ProductSettings()


def get_settings() -> AppSettings:
    """Return the settings in force now; raise ``ImproperlyConfigured`` with a sentence for each mistake."""
    given = getattr(settings, "SIMILAR_PRODUCTS", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"SIMILAR_PRODUCTS must be a dict, not {type(given).__name__}.")
    values = _read("SIMILAR_PRODUCTS", given, KEYS)
    encoder = values.pop("encoder", {})
    return AppSettings(**values, **{f"encoder_{key}": value for key, value in encoder.items()})


class Key(NamedTuple):
    """A key that may be set: the test of its value, the sentence for one that fails, and what the value is read as.

    The sentence goes on after the key, and has places for ``value`` and its ``type``.
    """

    test: Callable[[Any], bool]
    sentence: str
    read: Callable[[Any], Any] = lambda value: value


def _read(where: str, given: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return the values by their keys in lower case; raise ``ImproperlyConfigured`` for a wrong key or value."""
    values = {}
    for name, value in given.items():
        if name not in keys:
            raise ImproperlyConfigured(f"{where} has the unknown key {name!r}; known are {listed(keys)}.")
        key = keys[name]
        if not key.test(value):
            sentence = key.sentence.format(value=value, type=type(value).__name__)
            raise ImproperlyConfigured(f"{where}[{name!r}] {sentence}")
        values[name.lower()] = key.read(value)
    return values


def _is_a(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_number(least: int, greatest: float = float("inf")) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= greatest


def _is_path(value: Any) -> bool:
    return value is None or (isinstance(value, str | os.PathLike) and bool(os.fspath(value)))


def _read_path(value: Any) -> Path | None:
    return None if value is None else Path(value)


def _is_filterset(value: Any) -> bool:
    names = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(name, str) for name in names)


def _read_embed_on_save(value: str) -> str:
    where = f"SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is {value!r}"
    if value == "tasks" and django.VERSION < (6, 0) and not find_spec("django_tasks"):
        raise ImproperlyConfigured(
            f"{where}, which needs Django 6.0 or the package django-tasks: run "
            "pip install 'django-similar-products[tasks]'."
        )
    if value not in EMBED_ON_SAVE:
        try:
            enqueue = import_string(value)
        except ImportError as error:
            raise ImproperlyConfigured(
                f"{where}, which cannot be imported: {error}; {EMBED_ON_SAVE_VALUES}."
            ) from error
        if not callable(enqueue):
            raise ImproperlyConfigured(f"{where}, which cannot be called; {EMBED_ON_SAVE_VALUES}.")
    return value


def _read_products(given: Mapping[Any, Any]) -> dict[str, ProductSettings]:
    where = "SIMILAR_PRODUCTS['PRODUCTS']"
    products = {}
    for label, options in given.items():
        if not isinstance(label, str) or not isinstance(options, Mapping):
            raise ImproperlyConfigured(
                f"{where} has the entry {label!r}: {options!r}; valid is a model's label as in 'shop.Product' with a "
                "dict."
            )
        products[label.lower()] = ProductSettings(**_read(f"{where}[{label!r}]", options, PRODUCT_KEYS))
    return products


def listed(values: Iterable[str]) -> str:
    """Return names as a sentence has them, quoted and with commas."""
    return ", ".join(repr(value) for value in values)


EMBED_ON_SAVE_VALUES = (
    f"valid are {listed(EMBED_ON_SAVE)} and the dotted path of a function enqueue(model_label, pk, using)"
)
FLAG = Key(_is_a(bool), "is {value!r}; valid are True and False.")
TEXT = Key(_is_a(str), "is {value!r}; valid is text.")

PRODUCT_KEYS = dict.fromkeys(("FALLBACK", "THROUGH", "VARIANTS", "VISIBLE"), TEXT)
ENCODER_KEYS = {
    "BACKEND": Key(_is_a(str), "is {value!r}; valid is the dotted path of an encoder."),
    "OPTIONS": Key(_is_a(Mapping), "is {value!r}; valid is a dict of the encoder's options."),
}
API_KEYS = {
    "FILTERSET": Key(
        _is_filterset,
        "is {value!r}; valid are the dotted path of a FilterSet and a list of names of fields.",
        lambda value: value if isinstance(value, str) else tuple(value),
    ),
    "FRAGMENT_MAX_AGE": Key(_is_number(0), "is {value!r}; valid are whole numbers from 0."),
    "MAX_INFERENCES": Key(_is_number(1), "is {value!r}; valid are whole numbers from 1."),
    "MODEL": TEXT,
    "SERIALIZER": TEXT,
}
KEYS = {
    "API": Key(
        _is_a(Mapping),
        "must be a dict, as in {{'MODEL': 'shop.Product'}}, not {type}.",
        lambda value: ApiSettings(**_read("SIMILAR_PRODUCTS['API']", value, API_KEYS)),
    ),
    "BANDS": Key(
        _is_path,
        "is {value!r}; valid are the path of a JSON file that calibrate_similarity writes, and None.",
        _read_path,
    ),
    "EF_SEARCH": Key(
        _is_number(1, MAX_EF_SEARCH),
        f"is {{value!r}}; valid are whole numbers from 1 to {MAX_EF_SEARCH}: more finds more of the truly nearest and "
        "takes longer.",
    ),
    "EMBED_ON_SAVE": Key(
        lambda value: isinstance(value, str) and (value in EMBED_ON_SAVE or "." in value),
        f"is {{value!r}}; {EMBED_ON_SAVE_VALUES}.",
        _read_embed_on_save,
    ),
    "ENCODER": Key(
        _is_a(Mapping),
        "must be a dict with BACKEND (a dotted path) and OPTIONS (a dict), not {type}.",
        lambda value: _read("SIMILAR_PRODUCTS['ENCODER']", value, ENCODER_KEYS),
    ),
    "FETCH_URLS": FLAG,
    "ISOLATE_DECODER": FLAG,
    "MODEL_CACHE": Key(
        _is_path,
        "is {value!r}; valid are the path of a folder, in which converted models are kept, and None.",
        _read_path,
    ),
    "PRODUCTS": Key(
        _is_a(Mapping),
        "must be a dict from model to a dict, as in {{'shop.Product': {{'VISIBLE': ...}}}}, not {type}.",
        _read_products,
    ),
    "REFUSE_BLANK": FLAG,
}
"""Every key of ``SIMILAR_PRODUCTS``."""
