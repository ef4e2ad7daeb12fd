import json
import os
import re

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import translation

from similar_products.encoders import TFHubEncoder
from similar_products.encoders.tfhub import OFFICIAL_HANDLE
from similar_products.search import bands
from similar_products.search.bands import WORDS, Bands, get_bands, read_bands, write_bands

OWN = {"near_duplicate": 0.9, "very_similar": 0.7, "similar": 0.5}


@pytest.fixture
def file(settings, tmp_path):
    """Return a function that writes the bands file and names it in the settings."""
    path = tmp_path / "bands.json"
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": path}

    def write(content: object):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.mark.parametrize(
    ("similarity", "word"),
    [
        (1.0, "near-duplicate"),
        (0.9, "near-duplicate"),
        (0.899, "very similar"),
        (0.7, "very similar"),
        (0.699, "similar"),
        (0.5, "similar"),
        (0.499, "weak"),
        (-1.0, "weak"),
    ],
)
def test_word__begins_at_its_band(similarity, word):
    assert Bands(**OWN).word(similarity) == word


def test_words__have_texts_for_the_page():
    with translation.override("en"):
        assert {code: str(text) for code, text in WORDS.items()} == {code: code for code in WORDS}
    assert [Bands(**OWN).word(value) for value in (0.95, 0.8, 0.6, 0.1)] == list(WORDS)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((1.1, 0.7, 0.5), "near_duplicate is 1.1; valid are numbers from 0 to 1."),
        ((0.9, 0.7, -0.1), "similar is -0.1; valid are numbers from 0 to 1."),
        ((0.9, "0.7", 0.5), "very_similar is '0.7'; valid are numbers from 0 to 1."),
        ((True, 0.7, 0.5), "near_duplicate is True; valid are numbers from 0 to 1."),
        ((float("nan"), 0.7, 0.5), "near_duplicate is nan; valid are numbers from 0 to 1."),
        (
            (0.9, 0.9, 0.5),
            "near_duplicate, very_similar and similar must descend, and are 0.9, 0.9 and 0.5.",
        ),
        (
            (0.9, 0.5, 0.7),
            "near_duplicate, very_similar and similar must descend, and are 0.9, 0.5 and 0.7.",
        ),
    ],
)
def test_bands__refuse_what_cannot_be(numbers, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Bands(*numbers)


def test_get_bands__of_an_unknown_encoder_are_none():
    assert get_bands("color-histogram-1280") is None


@pytest.mark.parametrize("name", [TFHubEncoder(OFFICIAL_HANDLE).name, "savedmodel-d35a66146b9fa1d6-fit1"])
def test_get_bands__official_weights_have_shipped_ones(name):
    found = get_bands(name)
    assert found is not None
    assert found.word(0.99) == "near-duplicate"
    assert found.word(0.2) == "weak"


def test_get_bands__of_the_file_come_before_the_shipped(file):
    shipped = get_bands_of_the_official_weights()
    file({TFHubEncoder(OFFICIAL_HANDLE).name: OWN})
    assert get_bands(TFHubEncoder(OFFICIAL_HANDLE).name) == Bands(**OWN) != shipped


def get_bands_of_the_official_weights() -> Bands:
    return read_bands(bands.SHIPPED)[TFHubEncoder(OFFICIAL_HANDLE).name]


def test_get_bands__file_without_the_encoder_leaves_the_shipped(file):
    file({"another": OWN})
    assert get_bands(TFHubEncoder(OFFICIAL_HANDLE).name) == get_bands_of_the_official_weights()
    assert get_bands("color-histogram-1280") is None


def test_get_bands__changed_file_is_read_anew(file):
    path = file({"mine": OWN})
    assert get_bands("mine") == Bands(**OWN)
    file({"mine": {**OWN, "similar": 0.4}})
    os.utime(path, ns=(1, 1))  # whatever the clock's grain
    assert get_bands("mine") == Bands(0.9, 0.7, 0.4)


def test_get_bands__unchanged_file_is_read_once(file, monkeypatch):
    file({"mine": OWN})
    get_bands("mine")
    monkeypatch.setattr(bands, "_load", None)
    assert get_bands("mine") == Bands(**OWN)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "It is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)."),
        ([], "It must be an object with an entry for each encoder's name."),
        (
            {"mine": {"similar": 0.5}},
            (
                "The entry 'mine' must have near_duplicate, very_similar and similar, and may have the text measured, "
                "not {'similar': 0.5}."
            ),
        ),
        (
            {"mine": [0.9, 0.7, 0.5]},
            (
                "The entry 'mine' must have near_duplicate, very_similar and similar, and may have the text measured, "
                "not [0.9, 0.7, 0.5]."
            ),
        ),
        (
            {"mine": {**OWN, "similar": 7}},
            "In the entry 'mine' similar is 7; valid are numbers from 0 to 1.",
        ),
    ],
)
def test_get_bands__wrong_file_is_named_with_the_reason(file, content, reason):
    path = file(content)
    with pytest.raises(ImproperlyConfigured) as caught:
        get_bands("mine")
    assert str(caught.value) == (
        f"SIMILAR_PRODUCTS['BANDS'] is '{path}', which cannot be used: {reason} Correct it, or move it away and run "
        "calibrate_similarity."
    )


def test_get_bands__file_in_another_encoding_is_named(file):
    path = file({})
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ImproperlyConfigured, match="which cannot be used: It is not text in UTF-8. Correct it"):
        get_bands("mine")


def test_get_bands__missing_file_is_named(file):
    path = file({})
    path.unlink()
    with pytest.raises(ImproperlyConfigured) as caught:
        get_bands("mine")
    assert str(caught.value) == (
        f"SIMILAR_PRODUCTS['BANDS'] is '{path}', which does not exist; run calibrate_similarity to write it, or leave "
        "BANDS out for the shipped bands."
    )


def test_get_bands__folder_in_place_of_the_file_is_named(settings, tmp_path):
    settings.SIMILAR_PRODUCTS = {"BANDS": tmp_path}
    with pytest.raises(ImproperlyConfigured) as caught:
        get_bands("mine")
    assert str(caught.value) == (
        f"SIMILAR_PRODUCTS['BANDS'] is '{tmp_path}', which cannot be used: Is a directory. Correct it, or move it away "
        "and run calibrate_similarity."
    )


def test_write_bands__keeps_the_others_and_replaces_its_own(tmp_path):
    path = tmp_path / "bands.json"
    write_bands(path, "first", Bands(0.9, 0.7, 0.5), measured="500 products of shop.Product")
    write_bands(path, "second", Bands(0.8, 0.6, 0.4))
    write_bands(path, "second", Bands(0.8, 0.6, 0.3))
    assert json.loads(path.read_text()) == {
        "first": {**OWN, "measured": "500 products of shop.Product"},
        "second": {"near_duplicate": 0.8, "very_similar": 0.6, "similar": 0.3},
    }
    assert [item.name for item in tmp_path.iterdir()] == ["bands.json"]


def test_write_bands__leaves_a_file_alone_that_is_something_else(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"debug": true}')
    with pytest.raises(ValueError, match="The entry 'debug' must have near_duplicate"):
        write_bands(path, "mine", Bands(0.9, 0.7, 0.5))
    assert path.read_text() == '{"debug": true}'


def test_write_bands__interrupted_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "bands.json"
    write_bands(path, "mine", Bands(0.9, 0.7, 0.5))

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bands(path, "mine", Bands(0.8, 0.6, 0.4))
    assert read_bands(path)["mine"] == Bands(0.9, 0.7, 0.5)
    assert [item.name for item in tmp_path.iterdir()] == ["bands.json"]


def test_shipped_bands__say_where_they_were_measured():
    for name, entry in json.loads(bands.SHIPPED.read_text()).items():
        assert entry["measured"], name
