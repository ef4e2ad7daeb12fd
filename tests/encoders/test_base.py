import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured

from similar_products.encoders import ColorHistogramEncoder, Encoder, EncoderError, get_encoder, load_model
from similar_products.encoders.base import LONGEST_REASON, first_line
from similar_products.encoders.tfhub import EMBEDDED_HANDLE
from tests.encoders.small_models import random_pixels


class Broken(Encoder):
    name = "broken"
    dimensions = 4
    image_size = 8

    def features(self, pixels):
        return np.ones((len(pixels) + 1, 4))


def test_encode__with_other_rows_than_pictures_is_refused():
    with pytest.raises(EncoderError, match=r"shape \(3, 4\) for 2 pictures"):
        Broken().encode(random_pixels(2, 8))


def encoder_settings(backend: str, **options):
    return {"ENCODER": {"BACKEND": backend, "OPTIONS": options}}


def test_get_encoder__is_one_instance_for_the_same_settings(settings):
    first = get_encoder()
    assert get_encoder() is first
    settings.SIMILAR_PRODUCTS = encoder_settings("similar_products.encoders.ColorHistogramEncoder", dimensions=8)
    assert get_encoder() is not first
    assert get_encoder().dimensions == 8


def test_get_encoder__default_is_the_embedded_model(settings):
    settings.SIMILAR_PRODUCTS = {}
    assert get_encoder().handle == EMBEDDED_HANDLE


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        ("nowhere.Encoder", {}, "'nowhere.Encoder', which cannot be imported"),
        ("similar_products.encoders.TFHubEncoder", {"folder": "x"}, "OPTIONS'] do not fit .*'folder'"),
        ("similar_products.encoders.TFHubEncoder", {"handle": ""}, "OPTIONS'] do not fit .*handle is empty"),
        ("builtins.dict", {}, "builtins.dict is not a subclass of similar_products.encoders.Encoder"),
    ],
)
def test_get_encoder__mistakes_in_the_settings_are_named(settings, backend, options, message):
    settings.SIMILAR_PRODUCTS = encoder_settings(backend, **options)
    with pytest.raises(ImproperlyConfigured, match=message):
        get_encoder()


def test_load_model__opens_it(monkeypatch):
    opened = []
    monkeypatch.setattr(ColorHistogramEncoder, "features", lambda self, pixels: opened.append(1) or np.ones((1, 1280)))
    load_model()
    assert opened == [1]


def test_first_line__of_a_long_message_is_cut():
    assert first_line(ValueError("x" * 999)) == "x" * LONGEST_REASON + "…."
    assert first_line(ValueError("One.\nTwo.")) == "One."
