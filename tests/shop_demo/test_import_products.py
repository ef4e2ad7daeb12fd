import os
import resource
import signal
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.db import connection

from shop_demo.models import Category, Product
from tests.drawn_pictures import picture_bytes

pytestmark = pytest.mark.django_db

RED = picture_bytes("red")
BLUE = picture_bytes("blue", format="JPEG")


class InterruptedStorage(FileSystemStorage):
    """Someone presses Ctrl-C while the third file is stored."""

    def _save(self, name, content):
        if content.name.startswith("c"):
            Path(self.path(name)).write_bytes(content.read(10))
            signal.raise_signal(signal.SIGINT)
        return super()._save(name, content)


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture
def shop(tmp_path):
    """A folder with three categories."""
    folder = tmp_path / "My shop"
    write(folder / "Mugs" / "red mug.png", RED)
    write(folder / "Mugs" / "blue mug.jpg", BLUE)
    write(folder / "Töpfe & Pfannen" / "Große Pfanne №1.png", RED)
    write(folder / "Bags" / "2024" / "summer" / "tote.jpeg", BLUE)
    return folder


@pytest.fixture
def write_csv(tmp_path):
    """Return a function that writes lines below a header, beside the pictures a.png and b.png."""
    for name in ("a.png", "b.png", "c.png"):
        write(tmp_path / name, RED)

    def write_lines(*lines, header="name,category,price,stock,image", encoding="utf-8"):
        path = tmp_path / "products.csv"
        path.write_text("\n".join((header, *lines)) + "\n", encoding=encoding)
        return path

    return write_lines


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def products():
    return set(Product.objects.values_list("category__name", "name"))


def refused(capsys, returncode, *args, **options):
    """Run the command, which must fail, and return its sentence and the lines on stderr."""
    capsys.readouterr()
    with pytest.raises(CommandError) as failure:
        call_command("import_products", *args, **options)
    assert failure.value.returncode == returncode
    return str(failure.value), capsys.readouterr().err.splitlines()


def assert_nothing_imported(media):
    assert not Product.objects.exists()
    assert not Category.objects.exists()
    assert files_below(media) == []


class TestFolder:
    def test_folder__sub_folders_are_categories(self, shop, media, capsys):
        call_command("import_products", shop)
        assert products() == {
            ("Mugs", "red mug"),
            ("Mugs", "blue mug"),
            ("Töpfe & Pfannen", "Große Pfanne №1"),
            ("Bags", "tote"),
        }
        output = capsys.readouterr()
        assert output.out == "Imported 4 products in 3 categories.\n"
        assert output.err == ""  # no progress bar in a pipe

    def test_folder__pictures_are_copied_into_the_storage(self, shop, media):
        call_command("import_products", shop)
        assert len(files_below(media)) == 4
        product = Product.objects.get(name="red mug")
        assert product.image.name.startswith("products/")
        with product.image.open() as file:
            assert file.read() == RED

    def test_folder__products_wait_for_embed_products(self, shop):
        call_command("import_products", shop)
        assert Product.objects.pending().count() == 4

    def test_folder__price_and_stock_given(self, shop):
        call_command("import_products", str(shop), "--price", "12.50", "--stock", "7")
        assert set(Product.objects.values_list("price", "stock")) == {(Decimal("12.50"), 7)}

    def test_folder__price_and_stock_default(self, shop):
        call_command("import_products", shop)
        assert set(Product.objects.values_list("price", "stock")) == {(10, 1)}

    @pytest.mark.parametrize("option", [("--price", "x"), ("--price=-1",), ("--stock=-1",), ("--stock", "x")])
    def test_folder__bad_option_refused(self, shop, option):
        with pytest.raises(CommandError, match=f"argument {option[0].split('=')[0]}: "):
            call_command("import_products", shop, *option)
        assert not Product.objects.exists()

    def test_folder__without_sub_folders_is_one_category(self, shop):
        call_command("import_products", shop / "Mugs")
        assert products() == {("Mugs", "red mug"), ("Mugs", "blue mug")}

    def test_folder__named_by_a_dot(self, shop, monkeypatch):
        monkeypatch.chdir(shop / "Mugs")
        call_command("import_products", ".")
        assert products() == {("Mugs", "red mug"), ("Mugs", "blue mug")}

    @pytest.mark.parametrize(
        ("name", "format"),
        [
            ("x.jpg", "JPEG"),
            ("x.JPEG", "JPEG"),
            ("x.PNG", "PNG"),
            ("x.webp", "WEBP"),
            ("x.Gif", "GIF"),
            ("x.avif", "AVIF"),
            ("x.bmp", "BMP"),
            ("x.tif", "TIFF"),
            ("x.TIFF", "TIFF"),
        ],
    )
    def test_folder__formats(self, tmp_path, name, format):
        write(tmp_path / "Shop" / name, picture_bytes("red", format=format))
        call_command("import_products", tmp_path / "Shop")
        assert products() == {("Shop", "x")}

    def test_folder__other_and_hidden_files_left_out(self, shop):
        write(shop / "Mugs" / "notes.txt", b"hello")
        write(shop / "Mugs" / ".hidden.png", RED)
        write(shop / ".thumbnails" / "x.png", RED)
        write(shop / "Mugs" / ".thumbnails" / "x.png", RED)
        call_command("import_products", shop)
        assert len(products()) == 4
        assert not Category.objects.filter(name__startswith=".").exists()

    def test_folder__same_name_in_one_category_is_numbered(self, shop):
        write(shop / "Mugs" / "red mug.jpg", BLUE)
        write(shop / "Mugs" / "more" / "red mug.png", BLUE)
        call_command("import_products", shop)
        assert {name for category, name in products() if category == "Mugs"} == {
            "blue mug",
            "red mug",
            "red mug (2)",
            "red mug (3)",
        }

    def test_folder__symlink_loops_end(self, shop):
        (shop / "Mugs" / "loop").symlink_to(shop / "Mugs", target_is_directory=True)
        (shop / "Mugs" / "up").symlink_to(shop, target_is_directory=True)
        (shop / "again").symlink_to(shop, target_is_directory=True)
        (shop / "above").symlink_to(shop.parent, target_is_directory=True)
        (shop / "itself").symlink_to(shop / "itself")
        call_command("import_products", shop)
        assert len(products()) == 4

    def test_folder__linked_category_and_picture_are_followed(self, shop, tmp_path):
        write(tmp_path / "elsewhere" / "lamp.png", RED)
        (shop / "Lamps").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (shop / "Mugs" / "linked.png").symlink_to(tmp_path / "elsewhere" / "lamp.png")
        call_command("import_products", shop)
        assert {("Lamps", "lamp"), ("Mugs", "linked")} <= products()

    def test_folder__damaged_picture_stops_all(self, shop, media, capsys):
        broken = shop / "Bags" / "broken.png"
        write(broken, RED[:60])
        sentence, lines = refused(capsys, 1, shop)
        assert len(lines) == 1
        assert lines[0].startswith(f"{broken}: The picture cannot be used: ")
        assert sentence == (
            "Nothing was imported, because of what is wrong above (1). Correct it or import the rest with "
            "--skip-invalid."
        )
        assert_nothing_imported(media)

    def test_folder__broken_link_and_pipe_reported(self, shop, capsys):
        (shop / "Mugs" / "gone.png").symlink_to(shop / "nothing.png")
        os.mkfifo(shop / "Mugs" / "pipe.png")
        _, lines = refused(capsys, 1, shop)
        assert lines == [
            f"{shop / 'Mugs' / 'gone.png'}: The picture is missing.",
            f"{shop / 'Mugs' / 'pipe.png'}: The picture is missing.",
        ]

    def test_folder__name_that_is_no_text_reported(self, shop, capsys):
        path = os.fsencode(shop / "Mugs") + b"/\xff.png"
        try:
            Path(os.fsdecode(path)).write_bytes(RED)
        except OSError:
            pytest.skip("this file system takes text only")
        _, (line,) = refused(capsys, 1, shop)
        assert line.endswith("/\ufffd.png: The name '\\udcff' is wrong: It has characters that are no text.")

    def test_folder__category_that_is_no_text_reported(self, shop, capsys):
        path = Path(os.fsdecode(os.fsencode(shop) + b"/\xff"))
        try:
            path.mkdir()
        except OSError:
            pytest.skip("this file system takes text only")
        write(path / "a.png", RED)
        _, (line,) = refused(capsys, 1, shop)
        assert line.endswith("/\ufffd/a.png: The category '\\udcff' is wrong: It has characters that are no text.")

    def test_folder__name_too_long_reported(self, shop, capsys):
        write(shop / "Mugs" / f"{'x' * 201}.png", RED)
        _, (line,) = refused(capsys, 1, shop)
        assert "is wrong: Ensure this value has at most 200 characters (it has 201)." in line

    def test_folder__skip_invalid_imports_the_rest(self, shop, media, capsys):
        write(shop / "Bags" / "broken.png", b"no picture")
        sentence, lines = refused(capsys, 1, shop, skip_invalid=True)
        assert sentence == "What is wrong above (1) was left out."
        assert len(lines) == 1
        assert len(products()) == 4
        assert len(files_below(media)) == 4

    def test_folder__without_pictures_refused(self, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        sentence, _ = refused(capsys, 2, tmp_path / "empty")
        assert sentence.startswith(f"There is no product in {tmp_path / 'empty'}. Name a folder with pictures")

    def test_path__that_does_not_exist_refused(self, tmp_path, capsys):
        sentence, _ = refused(capsys, 2, tmp_path / "nothing")
        assert sentence == f"{tmp_path / 'nothing'} does not exist. Name a folder with pictures or a CSV file."

    def test_path__that_is_a_picture_refused(self, shop, capsys):
        path = shop / "Mugs" / "blue mug.jpg"
        sentence, _ = refused(capsys, 2, path)
        assert sentence == f"{path} is not UTF-8 text. Save it as CSV in UTF-8, or name a folder with pictures."


class TestAgain:
    def test_import__again_skips_and_counts(self, shop, media, capsys):
        call_command("import_products", shop)
        rows, files = list(Product.objects.order_by("pk").values_list()), files_below(media)
        capsys.readouterr()
        call_command("import_products", shop)
        assert capsys.readouterr().out == "Imported 0 products in 0 categories. Skipped 4 that exist already.\n"
        assert list(Product.objects.order_by("pk").values_list()) == rows
        assert files_below(media) == files

    def test_import__again_with_a_new_picture_adds_it(self, shop, capsys):
        call_command("import_products", shop)
        write(shop / "Mugs" / "green mug.png", RED)
        capsys.readouterr()
        call_command("import_products", shop)
        assert capsys.readouterr().out == "Imported 1 products in 1 categories. Skipped 4 that exist already.\n"

    def test_import__again_with_more_pictures_of_a_product_adds_those(self, write_csv):
        call_command("import_products", write_csv("Mug,Mugs,5,1,a.png"))
        call_command("import_products", write_csv("Mug,Mugs,5,1,a.png|b.png"))
        assert products() == {("Mugs", "Mug"), ("Mugs", "Mug (2)")}

    def test_import__same_name_in_another_category_is_another_product(self, write_csv):
        call_command("import_products", write_csv("Alba,Mugs,5,1,a.png"))
        call_command("import_products", write_csv("Alba,Bags,5,1,a.png"))
        assert products() == {("Mugs", "Alba"), ("Bags", "Alba")}


class TestCsv:
    def test_csv__all_columns(self, write_csv):
        path = write_csv(
            'Mug,Mugs,5.50,3,a.png,red,"plain, almost"', header="name,category,price,stock,image,color,pattern"
        )
        call_command("import_products", path)
        product = Product.objects.get()
        assert (product.name, product.category.name, product.stock) == ("Mug", "Mugs", 3)
        assert (str(product.price), product.color, product.pattern) == ("5.50", "red", "plain, almost")
        with product.image.open() as file:
            assert file.read() == RED

    def test_csv__columns_in_any_order_and_case_with_others(self, write_csv):
        path = write_csv("a.png,whatever,3,5,Mugs,Mug", header=" Image,Note,STOCK,price,Category,name")
        call_command("import_products", path)
        assert products() == {("Mugs", "Mug")}

    def test_csv__semicolons_byte_order_mark_and_decimal_comma(self, write_csv):
        path = write_csv(
            "Becher, rot;Töpfe;12,50;1;a.png",
            "",
            ";;;;",
            header="name;category;price;stock;image",
            encoding="utf-8-sig",
        )
        call_command("import_products", path)
        product = Product.objects.get()
        assert (product.name, product.category.name, str(product.price)) == ("Becher, rot", "Töpfe", "12.50")

    def test_csv__several_pictures_become_products(self, write_csv, capsys):
        call_command("import_products", write_csv("Mug,Mugs,5,1,a.png | b.png|c.png"))
        assert products() == {("Mugs", "Mug"), ("Mugs", "Mug (2)"), ("Mugs", "Mug (3)")}
        assert capsys.readouterr().out == "Imported 3 products in 1 categories.\n"

    def test_csv__spaces_and_joiners_of_other_scripts_kept(self, write_csv):
        call_command("import_products", write_csv("Mug\u00a0no\u00a01,\u0645\u06cc\u200c\u0646,5,1,a.png"))
        assert products() == {("\u0645\u06cc\u200c\u0646", "Mug\u00a0no\u00a01")}

    def test_csv__absolute_path(self, write_csv, shop):
        call_command("import_products", write_csv(f"Mug,Mugs,5,1,{shop / 'Mugs' / 'red mug.png'}"))
        assert products() == {("Mugs", "Mug")}

    @pytest.mark.parametrize("column", ["name", "category", "price", "stock", "image"])
    def test_csv__missing_column(self, write_csv, capsys, column):
        columns = [name for name in ("name", "category", "price", "stock", "image") if name != column]
        path = write_csv("a,b,c,d", header=",".join(columns))
        _, lines = refused(capsys, 1, path)
        assert lines == [f"{path}:1: The column {column!r} is missing."]

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            (",Mugs,5,1,a.png", "The name is empty."),
            (" ,Mugs,5,1,a.png", "The name is empty."),
            ("Mug,,5,1,a.png", "The category is empty."),
            ("Mug,Mugs,,1,a.png", "The price is empty."),
            ("Mug,Mugs,5,,a.png", "The stock is empty."),
            ("Mug,Mugs,5,1,", "The image is empty."),
            ("Mug,Mugs,5,1,|", "The image is empty."),
            ("Mug,Mugs,free,1,a.png", "The price 'free' is wrong: “free” value must be a decimal number."),
            (
                "Mug,Mugs,-1,1,a.png",
                "The price '-1' is wrong: Ensure this value is greater than or equal to 0.",
            ),
            ("Mug,Mugs,nan,1,a.png", "The price 'nan' is wrong: “nan” value must be a decimal number."),
            (
                'Mug,Mugs,"1,299",1,a.png',
                "The price '1,299' is wrong: Ensure that there are no more than 2 decimal places.",
            ),
            (
                "Mug,Mugs,5,-1,a.png",
                "The stock '-1' is wrong: Ensure this value is greater than or equal to 0.",
            ),
            ("Mug,Mugs,5,many,a.png", "The stock 'many' is wrong: “many” value must be an integer."),
            (
                "Mug,Mugs,5,9999999999,a.png",
                "The stock '9999999999' is wrong: Ensure this value is less than or equal to 2147483647.",
            ),
            ("Mug\0,Mugs,5,1,a.png", "The name 'Mug\\x00' is wrong: It has characters that are no text."),
            ("Mug,Mugs\0,5,1,a.png", "The category 'Mugs\\x00' is wrong: It has characters that are no text."),
            ("Mug,Mugs,5,1", "The line has 4 fields, the header 5."),
            ("Mug,Mugs,5,50,1,a.png", "The line has 6 fields, the header 5."),
            ("Mug,Mugs,5,1,nothing.png", "The picture '{folder}/nothing.png' is missing."),
            ("Mug,Mugs,5,1,a.png|nothing.png", "The picture '{folder}/nothing.png' is missing."),
            (
                "Mug,Mugs,5,1,products.csv",
                "The picture '{folder}/products.csv' cannot be used: ",
            ),
            ("Good,Mugs,5,1,a.png", "The product 'Good' in 'Mugs' is at {folder}/products.csv:2 already."),
            pytest.param('Mug,Mugs,5,1,"a' + "x" * 140_000, "The line cannot be read: ", id="quote left open"),
        ],
    )
    def test_csv__wrong_line(self, write_csv, media, tmp_path, capsys, line, sentence):
        path = write_csv("Good,Mugs,5,1,a.png", line)
        _, lines = refused(capsys, 1, path)
        assert len(lines) == 1
        assert lines[0].startswith(f"{path}:3: {sentence.format(folder=tmp_path)}")
        assert_nothing_imported(media)

    def test_csv__every_mistake_reported(self, write_csv, capsys):
        path = write_csv(",Mugs,x,1,a.png", "Fine,Mugs,5,1,b.png", "Mug,Mugs,5,-1,no.png")
        sentence, lines = refused(capsys, 1, path)
        assert [line.split(": ")[0] for line in lines] == [f"{path}:2", f"{path}:2", f"{path}:4", f"{path}:4"]
        assert "(4)" in sentence

    def test_csv__line_number_after_a_name_of_two_lines(self, write_csv, capsys):
        path = write_csv(
            'Fine,Mugs,5,1,a.png,"one\ntwo"', "", "Mug,Mugs,x,1,a.png,", header="name,category,price,stock,image,note"
        )
        _, (line,) = refused(capsys, 1, path)
        assert line.startswith(f"{path}:5: The price 'x' is wrong")

    def test_csv__skip_invalid_imports_the_rest(self, write_csv, media, capsys):
        path = write_csv("One,Mugs,5,1,a.png", "Two,Mugs,x,1,b.png", "Three,Bags,5,1,c.png", "Four,Mugs,1")
        _, lines = refused(capsys, 1, path, skip_invalid=True)
        assert [line.split(": ")[0] for line in lines] == [f"{path}:3", f"{path}:5"]
        assert products() == {("Mugs", "One"), ("Bags", "Three")}
        assert files_below(media) == ["a.png", "c.png"]

    def test_csv__not_utf_8_refused(self, write_csv, capsys):
        path = write_csv("Töpfe,Mugs,5,1,a.png", encoding="latin-1")
        sentence, _ = refused(capsys, 2, path)
        assert sentence.startswith(f"{path} is not UTF-8 text.")

    def test_csv__header_alone_refused(self, write_csv, capsys):
        path = write_csv()
        sentence, _ = refused(capsys, 2, path)
        assert sentence.startswith(f"There is no product in {path}.")

    def test_csv__empty_file(self, tmp_path, capsys):
        write(tmp_path / "empty.csv", b"")
        _, lines = refused(capsys, 1, tmp_path / "empty.csv")
        assert lines[0] == f"{tmp_path / 'empty.csv'}:1: The column 'name' is missing."

    def test_csv__picture_with_a_name_that_no_storage_takes(self, write_csv, tmp_path):
        write(tmp_path / "???", RED)
        call_command("import_products", write_csv("Mug,Mugs,5,1,???"))
        assert Product.objects.get().image.name == "products/picture"


def refuse_in_database(name):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE shop_demo_product ADD CONSTRAINT no_such_name CHECK (name <> '{name}')")


@contextmanager
def limited(limit, value):
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(limit, (soft, hard))


class TestFailureInTheMiddle:
    def test_import__storage_full_takes_everything_back(self, write_csv, media, tmp_path, capsys):
        write(tmp_path / "large.bmp", picture_bytes("red", size=(200, 200), format="BMP"))
        path = write_csv("One,Mugs,5,1,a.png", "Two,Bags,5,1,b.png", "Three,Hats,5,1,large.bmp")
        with limited(resource.RLIMIT_FSIZE, 20_000):
            sentence, _ = refused(capsys, 2, path)
        assert sentence.startswith("Nothing was imported: ")
        assert_nothing_imported(media)

    def test_import__database_error_takes_everything_back(self, write_csv, media, capsys):
        refuse_in_database("Two")
        sentence, _ = refused(capsys, 2, write_csv("One,Mugs,5,1,a.png", "Two,Bags,5,1,b.png"))
        assert "no_such_name" in sentence
        assert_nothing_imported(media)

    @pytest.fixture
    def listening(self):
        """Ctrl-C is heard: what runs in the background of a shell script is started without hearing it."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.usefixtures("listening")
    def test_import__interruption_takes_everything_back(self, write_csv, media, settings, capsys):
        settings.STORAGES = {
            **settings.STORAGES,
            "default": {"BACKEND": f"{__name__}.InterruptedStorage"},
        }
        path = write_csv("One,Mugs,5,1,a.png", "Two,Bags,5,1,b.png", "Three,Hats,5,1,c.png")
        sentence, _ = refused(capsys, 130, path)
        assert sentence == "Interrupted: nothing was imported."
        assert_nothing_imported(media)

    def test_import__failure_leaves_other_files_alone(self, write_csv, media, capsys):
        refuse_in_database("Two")
        call_command("import_products", write_csv("Zero,Mugs,5,1,a.png"))
        refused(capsys, 2, write_csv("One,Mugs,5,1,a.png", "Two,Bags,5,1,a.png"))
        assert products() == {("Mugs", "Zero")}
        assert files_below(media) == ["a.png"]


class TestSize:
    def test_import__holds_few_files_open(self, tmp_path):
        for number in range(120):
            write(tmp_path / "Shop" / f"{number}.png", RED)
        with limited(resource.RLIMIT_NOFILE, len(list(Path("/dev/fd").iterdir())) + 30):
            call_command("import_products", tmp_path / "Shop")
        assert Product.objects.count() == 120

    def test_import__many_products_few_queries(self, tmp_path, django_assert_max_num_queries):
        for number in range(60):
            write(tmp_path / "Shop" / f"{number}.png", RED)
        with django_assert_max_num_queries(8):
            call_command("import_products", tmp_path / "Shop")


@pytest.mark.django_db(transaction=True)
def test_import__files_stay_after_the_commit(shop, media):
    call_command("import_products", shop)
    assert len(files_below(media)) == Product.objects.count() == 4
