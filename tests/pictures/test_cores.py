import os

import pytest

from similar_products.pictures import cores


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("150000 100000", 2), ("50000 100000", 1), ("800000 100000", 4), ("max 100000", 4), ("", 4), (None, 4)],
)
def test_count_cores__is_at_most_the_quota_of_the_container(monkeypatch, tmp_path, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(cores, "CPU_QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert cores.count_cores.__wrapped__() == expected
