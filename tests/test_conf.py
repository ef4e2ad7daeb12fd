import sys
from pathlib import Path

import django
import pytest
from django.core.exceptions import ImproperlyConfigured

from similar_products.conf import API_KEYS, ApiSettings, get_settings
from tests.models import CheapShirt, PrintedShirt, Shirt, Vase

EMBED_ON_SAVE = "valid are 'inline', 'off', 'tasks' and the dotted path of a function enqueue(model_label, pk, using)"

EF_SEARCH = "valid are whole numbers from 1 to 1000: more finds more of the truly nearest and takes longer"
BANDS = "valid are the path of a JSON file that calibrate_similarity writes, and None"


def test_settings__are_read_live(settings):
    settings.SIMILAR_PRODUCTS = {}
    assert get_settings().embed_on_save == "inline"
    for value in ("off", "tasks", "tests.test_conf.enqueue"):
        settings.SIMILAR_PRODUCTS = {"EMBED_ON_SAVE": value}
        assert get_settings().embed_on_save == value


def test_settings__are_read_anew_when_they_change_alone(settings):
    settings.SIMILAR_PRODUCTS = {"PRODUCTS": {"shop.Product": {}}}
    first = get_settings()
    assert get_settings() == first
    settings.SIMILAR_PRODUCTS["PRODUCTS"]["shop.Product"]["THROUGH"] = "look"
    assert get_settings().products["shop.product"].through == "look"
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS}
    assert get_settings().products["shop.product"].through == "look"
    settings.SIMILAR_PRODUCTS["EF_SEARCH"] = 0
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured):
            get_settings()


def enqueue(model_label: str, pk: str, using: str) -> None:
    """Stands for a shop's own."""


def test_settings__tasks_without_a_tasks_interface_names_the_package(settings, monkeypatch):
    settings.SIMILAR_PRODUCTS = {"EMBED_ON_SAVE": "tasks"}
    monkeypatch.setitem(sys.modules, "django_tasks", None)
    monkeypatch.setattr(django, "VERSION", (5, 2, 14, "final", 0))
    with pytest.raises(ImproperlyConfigured) as caught:
        get_settings()
    assert str(caught.value) == (
        "SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is 'tasks', which needs Django 6.0 or the package django-tasks: run "
        "pip install 'django-similar-products[tasks]'."
    )
    monkeypatch.setattr(django, "VERSION", (6, 0, 0, "final", 0))
    assert get_settings().embed_on_save == "tasks"


def test_settings__may_be_absent(settings):
    del settings.SIMILAR_PRODUCTS
    assert get_settings().encoder_backend == "similar_products.encoders.TFHubEncoder"
    assert get_settings().fetch_urls is False
    assert get_settings().isolate_decoder is False
    assert get_settings().refuse_blank is True
    assert get_settings().bands is None


def test_api__is_read_live(settings):
    settings.SIMILAR_PRODUCTS = {"PRODUCTS": {"Shop.Product": {"FALLBACK": "shop.bestsellers"}}}
    assert get_settings().api == ApiSettings("", "", "", 1, 60)
    assert get_settings().products["shop.product"].fallback == "shop.bestsellers"
    settings.SIMILAR_PRODUCTS = {
        "API": {
            "MODEL": "shop.Product",
            "SERIALIZER": "shop.ProductSerializer",
            "FILTERSET": ["price"],
            "MAX_INFERENCES": 1,
            "FRAGMENT_MAX_AGE": 0,
        }
    }
    assert get_settings().api == ApiSettings("shop.Product", "shop.ProductSerializer", ("price",), 1, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("shop.Product", " must be a dict, as in {'MODEL': 'shop.Product'}, not str."),
        (
            {"MODELS": "shop.Product"},
            f" has the unknown key 'MODELS'; known are {', '.join(map(repr, API_KEYS))}.",
        ),
        ({"MODEL": None}, "['MODEL'] is None; valid is text."),
        (
            {"FILTERSET": [1]},
            "['FILTERSET'] is [1]; valid are the dotted path of a FilterSet and a list of names of fields.",
        ),
        ({"MAX_INFERENCES": 0}, "['MAX_INFERENCES'] is 0; valid are whole numbers from 1."),
        ({"FRAGMENT_MAX_AGE": True}, "['FRAGMENT_MAX_AGE'] is True; valid are whole numbers from 0."),
    ],
)
def test_api__wrong_value_is_named(settings, value, message):
    settings.SIMILAR_PRODUCTS = {"API": value}
    with pytest.raises(ImproperlyConfigured) as caught:
        get_settings()
    assert str(caught.value) == f"SIMILAR_PRODUCTS['API']{message}"


@pytest.mark.parametrize("value", ["shop/bands.json", Path("shop/bands.json")])
def test_bands__is_a_path_in_either_form(settings, value):
    settings.SIMILAR_PRODUCTS = {"BANDS": value}
    assert get_settings().bands == Path("shop/bands.json")


def test_flags__are_read_live(settings):
    settings.SIMILAR_PRODUCTS = {"FETCH_URLS": True, "ISOLATE_DECODER": True, "REFUSE_BLANK": False}
    assert get_settings().fetch_urls is True
    assert get_settings().isolate_decoder is True
    assert get_settings().refuse_blank is False


def test_products__are_found_by_label_in_any_case(settings):
    settings.SIMILAR_PRODUCTS = {"EF_SEARCH": 80, "PRODUCTS": {"Shop.Product": {"THROUGH": "pictures"}}}
    assert get_settings().ef_search == 80
    assert get_settings().products["shop.product"].through == "pictures"


def test_products__of_a_child_are_those_of_its_model_unless_it_has_its_own(settings):
    settings.SIMILAR_PRODUCTS = {"PRODUCTS": {"tests.Shirt": {"VARIANTS": "color"}}}
    assert get_settings().product(Shirt).variants == "color"
    assert get_settings().product(CheapShirt).variants == "color"
    assert get_settings().product(PrintedShirt).variants == "color"
    assert get_settings().product(Vase).variants == ""
    settings.SIMILAR_PRODUCTS = {"PRODUCTS": {"tests.Shirt": {"VARIANTS": "color"}, "tests.PrintedShirt": {}}}
    assert get_settings().product(PrintedShirt).variants == ""


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "SIMILAR_PRODUCTS must be a dict, not list."),
        (
            {"ENCODERS": {}},
            (
                "SIMILAR_PRODUCTS has the unknown key 'ENCODERS'; known are 'API', 'BANDS', 'EF_SEARCH', "
                "'EMBED_ON_SAVE', 'ENCODER', 'FETCH_URLS', 'ISOLATE_DECODER', 'MODEL_CACHE', 'PRODUCTS', "
                "'REFUSE_BLANK'."
            ),
        ),
        (
            {"ENCODER": "mobilenet"},
            "SIMILAR_PRODUCTS['ENCODER'] must be a dict with BACKEND (a dotted path) and OPTIONS (a dict), not str.",
        ),
        (
            {"ENCODER": {"HANDLE": "x"}},
            "SIMILAR_PRODUCTS['ENCODER'] has the unknown key 'HANDLE'; known are 'BACKEND', 'OPTIONS'.",
        ),
        ({"BANDS": 0.9}, f"SIMILAR_PRODUCTS['BANDS'] is 0.9; {BANDS}."),
        ({"BANDS": ""}, f"SIMILAR_PRODUCTS['BANDS'] is ''; {BANDS}."),
        ({"FETCH_URLS": "yes"}, "SIMILAR_PRODUCTS['FETCH_URLS'] is 'yes'; valid are True and False."),
        ({"EF_SEARCH": 0}, f"SIMILAR_PRODUCTS['EF_SEARCH'] is 0; {EF_SEARCH}."),
        ({"EF_SEARCH": 1001}, f"SIMILAR_PRODUCTS['EF_SEARCH'] is 1001; {EF_SEARCH}."),
        ({"EF_SEARCH": True}, f"SIMILAR_PRODUCTS['EF_SEARCH'] is True; {EF_SEARCH}."),
        (
            {"PRODUCTS": "shop.Product"},
            (
                "SIMILAR_PRODUCTS['PRODUCTS'] must be a dict from model to a dict, as in {'shop.Product': {'VISIBLE': "
                "...}}, not str."
            ),
        ),
        (
            {"PRODUCTS": {"shop.Product": "pictures"}},
            (
                "SIMILAR_PRODUCTS['PRODUCTS'] has the entry 'shop.Product': 'pictures'; valid is a model's label as in "
                "'shop.Product' with a dict."
            ),
        ),
        (
            {"PRODUCTS": {"shop.Product": {"RELATION": "pictures"}}},
            (
                "SIMILAR_PRODUCTS['PRODUCTS']['shop.Product'] has the unknown key 'RELATION'; known are 'FALLBACK', "
                "'THROUGH', 'VARIANTS', 'VISIBLE'."
            ),
        ),
        (
            {"PRODUCTS": {"shop.Product": {"VISIBLE": len}}},
            "SIMILAR_PRODUCTS['PRODUCTS']['shop.Product']['VISIBLE'] is <built-in function len>; valid is text.",
        ),
        ({"ISOLATE_DECODER": 1}, "SIMILAR_PRODUCTS['ISOLATE_DECODER'] is 1; valid are True and False."),
        ({"REFUSE_BLANK": "no"}, "SIMILAR_PRODUCTS['REFUSE_BLANK'] is 'no'; valid are True and False."),
        ({"EMBED_ON_SAVE": True}, f"SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is True; {EMBED_ON_SAVE}."),
        ({"EMBED_ON_SAVE": "celery"}, f"SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is 'celery'; {EMBED_ON_SAVE}."),
        (
            {"EMBED_ON_SAVE": "nowhere.enqueue"},
            (
                "SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is 'nowhere.enqueue', which cannot be imported: No module named "
                f"'nowhere'; {EMBED_ON_SAVE}."
            ),
        ),
        (
            {"EMBED_ON_SAVE": "os.sep"},
            f"SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is 'os.sep', which cannot be called; {EMBED_ON_SAVE}.",
        ),
    ],
)
def test_settings__mistakes_are_named(settings, given, sentence):
    settings.SIMILAR_PRODUCTS = given
    with pytest.raises(ImproperlyConfigured) as caught:
        get_settings()
    assert str(caught.value) == sentence
