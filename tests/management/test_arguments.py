"""What a user gives that cannot be used: one sentence, exit code 2, nothing written."""

import pytest

from tests.catalogues import ENCODER
from tests.management.catalogue_runs import COMMANDS, SIMILARITY, assert_refused

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["tests.Nothing"], "'tests.Nothing' is no model with vectors; valid are "),
        (["tests.Order"], "'tests.Order' is no model with vectors; valid are "),
        ([], "There are several models with vectors; name one of "),
        (
            ["tests.Shirt", "--where", "colour=red"],
            "--where colour cannot be asked of tests.Shirt: Cannot resolve keyword 'colour' into field. Choices are: ",
        ),
        (["tests.Shirt", "--where", "price__gt=dear"], "--where price__gt cannot be asked of tests.Shirt: Field "),
        (["tests.Shirt", "--where", "price__like=1"], "Unsupported lookup 'like' for IntegerField"),
        (
            ["tests.Shirt", "--where", "orders__isnull=maybe"],
            "'orders__isnull=maybe' asks for 'maybe'; valid are orders__isnull=true and",
        ),
        (["tests.Shirt", "--where", "price"], "'price' is no condition; write FIELD=VALUE, as category__name=Hats or"),
        (["tests.Shirt", "--where", "=3"], "'=3' is no condition; write FIELD=VALUE"),
        (["tests.Shirt", "--where", "price__range=1"], "'price__range=1' has no two ends; write price__range=FROM,TO"),
        (
            ["tests.LimitedEditionScreenPrintedPosterOfMuseum", "--where", "created__year=99999"],
            "--where created__year cannot be asked of tests.LimitedEditionScreenPrintedPosterOfMuseum: year 99999 is",
        ),
        (["tests.Shirt", "--where", "name__regex=("], "The database reports an error: invalid regular expression: "),
        (["tests.Vase"], f"tests.Vase has 0 visible products with a vector of the encoder {ENCODER}, and two are"),
        (["tests.Shirt", "--database", "elsewhere"], "argument --database: invalid choice: 'elsewhere'"),
        (["tests.Shirt", "--nothing"], "unrecognized arguments: --nothing"),
    ],
)
def test_input__that_all_refuse(shirts, run, tmp_path, command, given, sentence):
    done = run(command, *given, *SIMILARITY.get(command, ()))
    assert_refused(done, sentence, tmp_path)


@pytest.mark.parametrize(
    ("command", "given", "sentence"),
    [
        ("export_similar", ["-k", "0"], "argument -k: '0' is not a positive whole number"),
        ("export_similar", ["-k", "many"], "argument -k: 'many' is not a positive whole number"),
        ("export_similar", ["--min-similarity", "2"], "argument --min-similarity: '2' is not a number from 0 to 1"),
        ("export_similar", ["--of", "colour=red"], "--of colour cannot be asked of tests.Shirt: Cannot resolve"),
        ("export_similar", ["--format", "xml"], "argument --format: invalid choice: 'xml'"),
        ("export_similar", ["--format", "parquet"], "Parquet is no text for standard output; name a file with"),
        (
            "export_similar",
            ["--output", "similar.xml"],
            "'similar.xml' ends in none of .json, .jsonl, .csv, .parquet; name the format with --format.",
        ),
        ("find_duplicates", ["--similarity", "x"], "argument --similarity: 'x' is not a number from 0 to 1"),
        ("find_duplicates", ["--similarity", "0.9", "--keep", "age"], "--keep cannot be asked of tests.Shirt: Cannot "),
        ("find_duplicates", ["--similarity", "0.9", "--keep", "price=x"], "--keep cannot be asked of tests.Shirt: "),
        ("find_duplicates", ["--similarity", "0.9", "--keep", "price,,"], "'price,,' has an empty criterion; write "),
        ("find_duplicates", [], f"Nobody has calibrated the encoder {ENCODER}: run calibrate_similarity, or say with"),
        (
            "find_duplicates",
            ["--similarity", "0.9", "--where", "price__lt=1"],
            f"tests.Shirt has 0 visible products with a vector of the encoder {ENCODER} that meet the conditions, and",
        ),
        ("cluster_products", ["--where", "name=1"], "tests.Shirt has 1 visible products with a vector of the encoder"),
        ("cluster_products", ["--groups", "0"], "argument --groups: '0' is not a positive whole number"),
        (
            "cluster_products",
            ["--groups", "5"],
            "There are 4 products for 5 groups; ask for fewer groups with --groups.",
        ),
        ("cluster_products", ["--seed", "-1"], "argument --seed: '-1' is not a positive whole number"),
        (
            "cluster_products",
            ["--seed", "4294967296"],
            "argument --seed: '4294967296' is not a whole number from 1 to 4,294,967,295",
        ),
        ("cluster_products", ["--format", "xml"], "argument --format: invalid choice: 'xml'"),
    ],
)
def test_input__that_one_refuses(shirts, run, tmp_path, command, given, sentence):
    assert_refused(run(command, "tests.Shirt", *given), sentence, tmp_path)
