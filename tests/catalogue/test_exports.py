"""The text of each format, block by block."""

import json

import numpy as np
import pytest

from similar_products.catalogue.exports import SimilarPair, csv_rows, json_array, json_lines, similar_pairs
from similar_products.catalogue.neighbours import catalogue_of

BLOCKS = [[SimilarPair(0.5, 1, 2)], [], [SimilarPair(0.25, "a", 3), SimilarPair(0.0, 2, 1)]]
OBJECTS = [
    {"similarity": 0.5, "master_pi": 1, "similar_pi": 2},
    {"similarity": 0.25, "master_pi": "a", "similar_pi": 3},
    {"similarity": 0.0, "master_pi": 2, "similar_pi": 1},
]


def test_json_array__is_one_array_of_all_blocks():
    assert json.loads("".join(json_array(BLOCKS))) == OBJECTS
    assert "".join(json_array([])) == "".join(json_array([[]])) == "[]\n"


def test_json_lines__has_an_object_to_a_line():
    assert [json.loads(line) for line in "".join(json_lines(BLOCKS)).splitlines()] == OBJECTS


def test_csv_rows__begin_with_a_header():
    lines = "".join(csv_rows(BLOCKS)).splitlines()
    assert lines == ["similarity,master_pi,similar_pi", "0.5,1,2", "0.25,a,3", "0.0,2,1"]


@pytest.mark.parametrize(("least", "expected"), [(0.0, [0.6, 0.0]), (0.6, [0.6]), (0.61, [])])
def test_similar_pairs__are_rounded_and_at_least_as_similar(least, expected):
    vectors = np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    (pairs,) = similar_pairs(catalogue_of(vectors), k=9, queries=np.array([0]), min_similarity=least)
    assert pairs == [SimilarPair(similarity, 0, other) for similarity, other in zip(expected, (1, 2), strict=False)]
