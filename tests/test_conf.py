import sys

import django
import pytest
from django.core.exceptions import ImproperlyConfigured

from similar_products.conf import get_settings

EMBED_ON_SAVE = "valid are 'inline', 'off', 'tasks' and the dotted path of a function enqueue(model_label, pk, using)"


def test_settings__are_read_live(settings):
    settings.SIMILAR_PRODUCTS = {}
    assert get_settings().embed_on_save == "inline"
    for value in ("off", "tasks", "tests.test_conf.enqueue"):
        settings.SIMILAR_PRODUCTS = {"EMBED_ON_SAVE": value}
        assert get_settings().embed_on_save == value


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
    assert get_settings().isolate_decoder is False
    assert get_settings().refuse_blank is True


def test_flags__are_read_live(settings):
    settings.SIMILAR_PRODUCTS = {"ISOLATE_DECODER": True, "REFUSE_BLANK": False}
    assert get_settings().isolate_decoder is True
    assert get_settings().refuse_blank is False


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "SIMILAR_PRODUCTS must be a dict, not list."),
        (
            {"ENCODERS": {}},
            (
                "SIMILAR_PRODUCTS has the unknown key 'ENCODERS'; known are 'EMBED_ON_SAVE', 'ENCODER', "
                "'ISOLATE_DECODER', 'REFUSE_BLANK'."
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
