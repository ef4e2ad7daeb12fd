import pytest
from django.core.exceptions import ImproperlyConfigured

from similar_products.conf import get_settings


def test_settings__are_read_live(settings):
    settings.SIMILAR_PRODUCTS = {}
    assert get_settings().embed_on_save == "inline"
    settings.SIMILAR_PRODUCTS = {"EMBED_ON_SAVE": "off"}
    assert get_settings().embed_on_save == "off"


def test_settings__may_be_absent(settings):
    del settings.SIMILAR_PRODUCTS
    assert get_settings().encoder_backend == "similar_products.encoders.TFHubEncoder"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "SIMILAR_PRODUCTS must be a dict, not list."),
        (
            {"ENCODERS": {}},
            "SIMILAR_PRODUCTS has the unknown key 'ENCODERS'; known are 'EMBED_ON_SAVE', 'ENCODER'.",
        ),
        (
            {"ENCODER": "mobilenet"},
            "SIMILAR_PRODUCTS['ENCODER'] must be a dict with BACKEND (a dotted path) and OPTIONS (a dict), not str.",
        ),
        (
            {"ENCODER": {"HANDLE": "x"}},
            "SIMILAR_PRODUCTS['ENCODER'] has the unknown key 'HANDLE'; known are 'BACKEND', 'OPTIONS'.",
        ),
        ({"EMBED_ON_SAVE": True}, "SIMILAR_PRODUCTS['EMBED_ON_SAVE'] is True; valid are 'inline', 'off'."),
    ],
)
def test_settings__mistakes_are_named(settings, given, sentence):
    settings.SIMILAR_PRODUCTS = given
    with pytest.raises(ImproperlyConfigured) as caught:
        get_settings()
    assert str(caught.value) == sentence
