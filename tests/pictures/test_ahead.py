import threading
from collections.abc import Iterator

import pytest

from similar_products.pictures.ahead import in_batches, map_ahead


def test_map_ahead__keeps_the_order_of_the_items_whichever_is_done_first():
    later = threading.Event()

    def wait_for_the_next(number: int) -> int:
        if number == 0:
            assert later.wait(10)
        later.set()
        return number * number

    assert list(map_ahead(wait_for_the_next, range(5), ahead=2, threads=2)) == [0, 1, 4, 9, 16]


def test_map_ahead__takes_no_more_items_than_it_was_told():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ahead(lambda number: number, items(), ahead=3, threads=1)
    assert next(results) == 0
    assert taken == [0, 1, 2, 3]
    results.close()


def test_map_ahead__raises_what_the_function_raises_and_gives_up_the_rest():
    done: list[int] = []

    def fail_at_two(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        done.append(number)
        return number

    results = map_ahead(fail_at_two, iter(range(1_000_000)), ahead=4, threads=1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert len(done) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_map_ahead__a_single_item_is_computed_by_the_calling_thread():
    assert list(map_ahead(lambda _: threading.current_thread(), [0], ahead=3)) == [threading.current_thread()]
    assert list(map_ahead(lambda _: None, [], ahead=3)) == []


def test_map_ahead__every_thread_has_work_however_little_is_asked_for_ahead():
    together = threading.Barrier(8)

    def meet(number: int) -> int:
        together.wait(30)
        return number

    assert list(map_ahead(meet, range(16), ahead=1, threads=8)) == list(range(16))


@pytest.mark.parametrize(
    ("size", "batches"), [(2, [[0, 1], [2, 3], [4]]), (5, [list(range(5))]), (9, [list(range(5))])]
)
def test_in_batches__gives_all_items_in_their_order(size, batches):
    assert list(in_batches(iter(range(5)), size)) == batches
    assert list(in_batches([], size)) == []
