"""The commands on a catalogue, as a user runs them."""

COMMANDS = ("export_similar", "find_duplicates", "cluster_products")


SIMILARITY = {"find_duplicates": ("--similarity", "0.9")}  # the tests' encoder has no bands


def assert_refused(done: tuple[int, str, str], sentence: str, tmp_path) -> None:
    code, out, err = done
    assert (code, out) == (2, "")
    last = err.strip().splitlines()[-1]
    assert sentence in last
    assert last.endswith(".") or ": error: " in last
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == []
