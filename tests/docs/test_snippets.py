"""Every fenced block of README.md and docs/ works as it stands, pasted by a reader who has done the quick start alone.

A page's blocks are pasted in its order into a new project on a real database (pasted_shop.py); reading.py says what is
done with each language. A block of a language that it does not know fails.
"""

import hashlib
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from similar_products.encoders.tfhub import OFFICIAL_HANDLE
from tests.docs.pasted_shop import PastedShop
from tests.docs.reading import RUNNERS, read
from tests.docs.snippets import BLOCKS, ROOT, Block
from tests.drawn_pictures import picture_bytes

pytestmark = pytest.mark.slow

RUN_ELSEWHERE = {
    "docs/packages.md": (
        "tests/packages/test_querysets.py::test_similar_to__rows_of_django_polymorphic_are_of_their_own_class"
    ),
    "docs/oscar.md": "tests/docs/test_oscar.py::test_page__commands_migrate_and_fill_the_shop",
    'python3 -m venv .venv && .venv/bin/pip install -e ".[demo]"': (
        "tests/shop_demo/test_demo.py::test_demo__sets_the_shop_up_once"
    ),
    "python3 -m venv .venv && .venv/bin/pip install -r": (
        "tests/docs/test_readme.py::test_ci__runs_the_readme_command_word_by_word"
    ),
    "python manage.py db_worker": "tests/test_tasks.py::test_queues_page__django_tasks_with_its_database_worker",
    "celery -A mysite worker": "tests/test_tasks.py::test_queues_page__celery_with_redis",
    "stored file | upload | URL": "tests/docs/test_snippets.py::test_architecture__its_picture_names_rooms",
}
"""Blocks, or a page, by how they begin, and the test that runs them: it has what they need."""

CONVERTING = {"docs/encoders.md", "docs/quality.md"}
"""Pages that use a model of TF-Hub or Keras, which TensorFlow converts."""


def elsewhere(block: Block) -> str:
    """Return the test that runs the block in place of this module, or nothing."""
    starts = [block.page, *block.text.splitlines()]
    return next(
        (test for start, test in RUN_ELSEWHERE.items() if any(line.startswith(start) for line in starts)),
        "",
    )


HERE = [block for block in BLOCKS if not elsewhere(block)]


def split_readme() -> tuple[list[Block], list[Block]]:
    """Return the quick start's blocks, and the others in the order in which a reader can paste them."""
    text = (ROOT / "README.md").read_text()
    first, last = (text.count("\n", 0, text.index(title)) for title in ("## In your own shop", "### A product model"))
    readme = [block for block in HERE if block.page == "README.md"]
    quick_start = [block for block in readme if first < block.line < last]
    return quick_start, [*(block for block in readme if block.line > last), *(b for b in readme if b.line < first)]


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory, django_db_setup, django_db_blocker) -> Iterator[Mapping[str, Future[Any]]]:
    """Reads the pages of the tests that were chosen, two at a time; gives what became of their blocks by page."""
    with django_db_blocker.unblock():
        given = connection.get_connection_params()
    server = {name: given[name] for name in ("host", "port", "user", "password") if given.get(name)}
    folder = tmp_path_factory.mktemp("pasted")
    items = [item.callspec.params.get("block") for item in request.session.items if hasattr(item, "callspec")]
    pages = sorted(
        {block.page for block in items if isinstance(block, Block)}, key=lambda page: ("encoders" not in page, page)
    )
    quick_start, others = split_readme()
    base = PastedShop(folder / "quick", server)
    try:
        if {*pages} & CONVERTING and find_spec("tensorflow"):
            add_models(base)
        shown = [block for block in quick_start if block.language == "html"]
        found = read(base, (block for block in quick_start if block not in shown))
        add_pictures(base)
        found |= read(base, shown)
        with ThreadPoolExecutor(2) as pool:
            yield {page: pool.submit(read_page, page, base, others, found) for page in pages}
    finally:
        base.close()


def add_pictures(shop: PastedShop) -> None:
    """Give the shop its products, and the reader a photo to search by."""
    shop.try_out("fill")
    (shop.folder / "dress.jpg").write_bytes(picture_bytes("tomato", "gold", "white", size=(96, 96), format="JPEG"))


def read_page(page: str, base: PastedShop, others: list[Block], found: dict[Block, str]) -> dict[Block, str]:
    shop = PastedShop(base.folder.parent / re.sub(r"\W", "_", page).lower(), base.server, base)
    try:
        if page == "README.md":
            return found | read(shop, others)
        return read(shop, (block for block in HERE if block.page == page))
    finally:
        shop.close()


def add_models(shop: PastedShop) -> None:
    """Put a small model where TensorFlow Hub keeps what it has downloaded, and where the page has the shop's own."""
    downloaded = Path(shop.environment["TFHUB_CACHE_DIR"]) / hashlib.sha1(OFFICIAL_HANDLE.encode()).hexdigest()
    code = (
        "from pathlib import Path; from tests.saved_models import save_feature_model, save_keras_model; "
        f"save_feature_model(Path({str(downloaded)!r}), dimensions=1280, size=224); Path('models').mkdir(); "
        "save_keras_model(Path('models/shop.keras'), dimensions=2048, size=160)"
    )
    shop.run(shlex.join(["python", "-c", code]))


def needs(block: Block) -> list[pytest.MarkDecorator]:
    """Return the marks of a block by what its page asks for."""
    if block.page == "docs/api.md":
        return [pytest.mark.network, pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")]
    if block.page in CONVERTING:
        return [pytest.mark.skipif(not find_spec("tensorflow"), reason="TensorFlow is not installed")]
    return []


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place, marks=needs(block)) for block in HERE])
def test_block__works_as_it_stands(block, outcomes):
    if failure := outcomes[block.page].result()[block]:
        pytest.fail(f"{block.place}\n{block.text}\n{failure}", pytrace=False)


@pytest.mark.parametrize("place", sorted({*RUN_ELSEWHERE.values()}))
def test_block__that_runs_elsewhere_has_its_test(place):
    file, _, name = place.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_run_elsewhere__names_blocks_that_are_there():
    assert set(map(elsewhere, BLOCKS)) - {""} == set(RUN_ELSEWHERE.values())


def test_block__of_an_unknown_language_fails():
    (outcome,) = read(None, [Block("README.md", 1, "cobol", "MOVE A TO B.\n")]).values()
    assert outcome == "No runner knows the language 'cobol': add one to tests/docs/reading.py."


def test_read_blocks__finds_every_fence():
    assert len({block.page for block in BLOCKS}) > 15
    assert {block.language for block in BLOCKS} <= {*RUNNERS}


def test_architecture__its_picture_names_rooms():
    (block,) = [block for block in BLOCKS if block.page == "docs/architecture.md"]
    rooms = re.findall(r"^ +→ (\w+) ", block.text, re.MULTILINE)
    assert len(rooms) == 5
    assert not [room for room in rooms if room != "tag" and not find_spec(f"similar_products.{room}")]
