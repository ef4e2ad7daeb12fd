"""The figures of one ranking, worked out by hand."""

import numpy as np
import pytest

from similar_products.catalogue.evaluation import sample_of, score
from similar_products.catalogue.labels import Labels
from similar_products.catalogue.neighbours import Ranking

LABELS = Labels(np.arange(5), np.array([0, 0, 1, 0, 2]), np.arange(6))
"""Five products: three share a label, two are alone with theirs."""


def ranking(query: int, *positions: int) -> Ranking:
    return Ranking(query, np.array(positions), np.linspace(1, 0, len(positions), dtype=np.float32))


def test_score__of_a_whole_ranking():
    found = score(LABELS, ranking(0, 2, 1, 4, 3), k=2, products=5)
    assert found == pytest.approx([1 / 2, 1, 0, (1 / 2 + 2 / 4) / 2])


def test_score__best_possible_is_less_than_1_where_fewer_than_k_share_the_label():
    found = score(LABELS, ranking(0, 1, 3, 2, 4), k=4, products=5)
    assert found == pytest.approx([2 / 4, 2 / 4, 1, 1])


def test_score__k_beyond_the_ranking_takes_all_there_are():
    assert score(LABELS, ranking(1, 2, 0), k=10, products=5)[:2] == pytest.approx([1 / 2, 1])


def test_score__of_a_product_alone_with_its_label_is_none():
    assert score(LABELS, ranking(2, 0, 1, 3, 4), k=2, products=5) is None


def test_sample_of__is_seeded_and_ascending():
    first = sample_of(1_000, 20)
    assert first.tolist() == sorted(set(first.tolist())) == sample_of(1_000, 20).tolist()
    assert first.tolist() != sample_of(1_000, 20, seed=1).tolist()
    assert sample_of(5, 20).tolist() == [0, 1, 2, 3, 4]
