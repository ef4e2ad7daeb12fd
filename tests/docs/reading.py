"""A reader of a page, who pastes its blocks one after the other, as they stand, into a shop of the quick start."""

import json
import re
import tomllib
from collections.abc import Callable, Iterable

from tests.docs.pasted_shop import PastedShop, PasteError, same_words
from tests.docs.snippets import ROOT, Block

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OTHER_PACKAGES = {"celery[redis]", "psycopg[binary]"}


def read(shop: PastedShop, blocks: Iterable[Block]) -> dict[Block, str]:
    """Paste the blocks in their order; return what went wrong with each, or nothing."""
    outcomes = {}
    blocks = list(blocks)
    for position, block in enumerate(blocks):
        following = blocks[position + 1] if position + 1 < len(blocks) else None
        try:
            if block.language not in RUNNERS:
                raise PasteError(f"No runner knows the language {block.language!r}: add one to tests/docs/reading.py.")
            RUNNERS[block.language](shop, block, following)
            outcomes[block] = ""
        except PasteError as error:
            outcomes[block] = str(error)
    return outcomes


def paste_python(shop: PastedShop, block: Block, following: Block | None) -> None:
    """Paste into the file that the first line names, or into a shell."""
    if block.first_line == "# python manage.py shell":
        shop.try_out("shell", block.text)
        return
    if not block.file:
        raise PasteError("The first line must be a comment that says where to paste: a file, or python manage.py shell")
    shop.write(block.file, block.text, is_added=block.is_added)
    if "/migrations/" in block.file:
        return  # the next command runs it
    if block.file == "shop/models.py" and shop.has_tables and not block.is_added:
        shop.make_tables()
    shop.try_out("file", block.file)


def paste_template(shop: PastedShop, block: Block, following: Block | None) -> None:
    """Write the template that the first line names, which a page then shows; or render it for a product."""
    if block.file:
        shop.write(block.file, block.text)
        shop.try_out("file", "shop/admin.py")
    else:
        shop.try_out("template", block.text)


def paste_commands(shop: PastedShop, block: Block, following: Block | None) -> None:
    """Run each line; what they print is for the block after them."""
    printed = ""
    for line in block.text.replace("\\\n", "").splitlines():
        if line.startswith("pip install "):
            _look_up_packages(line)
        elif line.startswith("python -m benchmarks."):
            shop.run(f"cd {ROOT} && {' '.join(line.split()[:3])} --help")  # each takes minutes and a folder of photos
        elif line == "python manage.py runserver":
            shop.serve()
        else:
            # find_duplicates has found some, and embed_products a damaged picture.
            exit_codes = (0, 1) if re.search("find_duplicates|embed_products", line) else (0,)
            shop.run(line.replace("127.0.0.1:8000", f"127.0.0.1:{shop.port}"), exit_codes=exit_codes)
            if "curl " in line:
                _see_refusal(shop.output, following)
            written = re.search(r"--output (\S+\.json)", line)
            printed += (shop.folder / written[1]).read_text() if written else shop.output
    shop.output = printed


def _look_up_packages(line: str) -> None:
    """Look a package up in pyproject.toml: to install it takes minutes and a network, and test_readme.py does."""
    for package in re.findall(r"[\w-]+(?:\[[\w,-]+\])?", line.removeprefix("pip install ")):
        name, _, extras = package.rstrip("]").partition("[")
        if name == "django-similar-products":
            if unknown := set(filter(None, extras.split(","))) - EXTRAS.keys():
                raise PasteError(f"pyproject.toml has no extra {unknown}")
        elif package not in OTHER_PACKAGES:
            raise PasteError(f"{package} is not known to this test")


def compare_json(shop: PastedShop, block: Block, following: Block | None) -> None:
    """Compare the names and kinds with what the block before has printed."""
    promised = json.loads(block.text)
    found = re.search(r"^[\[{].*[\]}]$", shop.output.strip(), re.MULTILINE | re.DOTALL)
    if not found:
        raise PasteError(f"Nothing in JSON was printed before this block:\n{shop.output[-2000:]}")
    if different := list(_differences(promised, json.loads(found[0]), "")):
        raise PasteError("\n".join(different))


def _differences(promised: object, printed: object, where: str) -> Iterable[str]:
    if promised is None or printed is None:
        return
    if isinstance(promised, dict) and isinstance(printed, dict):
        if where.endswith(("codes", "errors")):  # their names are data
            return
        if promised.keys() != printed.keys():
            yield f"{where or 'it'} has {sorted(printed)}, not {sorted(promised)}"
        for name in promised.keys() & printed.keys():
            yield from _differences(promised[name], printed[name], f"{where}.{name}")
    elif isinstance(promised, list) and isinstance(printed, list):
        for one in promised:
            for other in printed[:1]:
                yield from _differences(one, other, f"{where}[]")
    elif isinstance(promised, int | float) != isinstance(printed, int | float) or (
        isinstance(promised, str) != isinstance(printed, str)
    ):
        yield f"{where} is {printed!r}, not like {promised!r}"


def compare_text(shop: PastedShop, block: Block, following: Block | None) -> None:
    """Compare the words with what the block before has printed; lines with products of another shop aside."""
    lines = [line for line in block.text.splitlines() if not re.search(r"\.jpg|^[\d,]+ ", line)]
    if missing := same_words("\n".join(lines), shop.output):
        raise PasteError(f"Not printed: {sorted(missing)}\nbut:\n{shop.output[-3000:]}")


def send_request(shop: PastedShop, block: Block, following: Block | None) -> None:
    """Send a request of one line to the API; it is answered, unless the page goes on with an error."""
    shop.try_out("request", block.text.strip())
    _see_refusal(shop.output, following)


def _see_refusal(answer: str, following: Block | None) -> None:
    is_meant = following is not None and following.language == "json" and '"detail"' in following.text
    if '"detail"' in answer and not is_meant:
        raise PasteError(f"The API refuses: {answer}")


def run_sql(shop: PastedShop, block: Block, following: Block | None) -> None:
    """Run each statement, in the database that it names or in the shop's."""
    for statement in filter(None, map(str.strip, block.text.split(";"))):
        shop.sql(statement.replace("DATABASE shop ", f"DATABASE {shop.database} "))


RUNNERS: dict[str, Callable[[PastedShop, Block, Block | None], None]] = {
    "html": paste_template,
    "http": send_request,
    "json": compare_json,
    "python": paste_python,
    "sh": paste_commands,
    "sql": run_sql,
    "text": compare_text,
}
