"""The command: formats, output files, one line for each error; and the page as text."""

import csv
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import NamedTuple

import pytest

from deepal_autoal.report.study import read_study
from tests.report.made_up_studies import write_run, write_study, write_table

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects ids, tags, text and attributes of a page; a wrongly nested element is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.tags, self.texts, self.attributes = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)


class Done(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def report(deepal):
    """Return a function that runs the command."""
    return lambda *arguments: Done(*deepal("report", *arguments))


@pytest.fixture(scope="module")
def page(study_folder, tmp_path_factory):
    from deepal_autoal.report import make_contents, write_page
    from deepal_autoal.report.figure_list import Drawings

    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_page(Drawings(make_contents([study_folder])), path).read_text(encoding="utf-8")


def test_page_is_well_formed_and_self_contained(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids)) > 100
    policy = next(value for tag, name, value in parsed.attributes if tag == "meta" and name == "content")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:")
    addresses = [value for _, name, value in parsed.attributes if name in ("src", "href", "xlink:href", "action")]
    assert addresses and all(value.startswith(("#", "data:")) for value in addresses)
    anchors = {value[1:] for _, name, value in parsed.attributes if name == "href" and value.startswith("#")}
    assert anchors <= set(parsed.ids)
    assert "<script src" not in page and "url(http" not in page and "@import" not in page
    assert "somewhere" not in page


def test_page_escapes_every_label(page):
    assert "bad<b>" not in page and "bad&lt;b&gt;&amp;" in page
    assert "b" not in Page(page).tags


def test_page_is_complete(page):
    text = " ".join(" ".join(Page(page).texts).split())
    for part in ("5 strategies on d and e", "good has the highest mean AUBC", "Cautions", "Few seeds on d",
                 "Better than random?", "Learning curves", "Time against accuracy", "What picker trusted",
                 "Who beats whom", "Mean ranks over datasets", "Where these numbers come from", "Every run", "Versions",
                 "fingerprint"):  # fmt: skip
        assert part in text, part
    assert page.count("<figure ") == 2 * 4 + 2


def test_marks_of_every_strategy_can_be_toggled(page):
    keys = re.findall(r'class="key" aria-pressed="true" data-strategy="([^"]+)"', page)
    assert len(keys) == 5
    for key in keys:
        assert len(re.findall(f'id="[^"]*--{key}--[^"]*"', page)) >= 8, key
        assert f'<tr data-strategy="{key}"' in page


def test_same_study_same_page(study_folder, page):
    from deepal_autoal.report import make_contents
    from deepal_autoal.report.figure_list import Drawings
    from deepal_autoal.report.page import render_page

    assert render_page(Drawings(make_contents([study_folder]))) == page


def test_a_page_needs_none_of_the_slow_imports(study_folder, tmp_path):
    code = (
        "import sys; from pathlib import Path; from deepal_autoal.report import make_contents, write_page; "
        "from deepal_autoal.report.figure_list import Drawings; "
        f"write_page(Drawings(make_contents([{str(study_folder)!r}])), Path({str(tmp_path / 'page.html')!r})); "
        "print([name for name in ('torch', 'sklearn', 'scipy.stats', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_write_report_on_a_benchmark(tmp_path):
    from deepal_autoal.report import write_report

    out = write_study(tmp_path / "study", {"random": 0.0, "good": 0.05}, datasets=["d"])
    assert write_report(out) == out / "report.html"
    assert "</html>" in (out / "report.html").read_text()


def test_write_report_replaces_no_other_page(tmp_path):
    from deepal_autoal.errors import InputError
    from deepal_autoal.report import write_report

    out = write_study(tmp_path / "study", {"random": 0.0, "good": 0.05}, datasets=["d"])
    (out / "report.html").write_text("<p>mine</p>")
    with pytest.raises(InputError, match=r"the page .*report.html exists and was not written by this command"):
        write_report(out)
    assert (out / "report.html").read_text() == "<p>mine</p>"


def test_html_goes_into_the_folder(report, tmp_path):
    out = write_study(tmp_path / "study", {"random": 0.0, "good": 0.05}, datasets=["d"])
    done = report(out)
    assert done.status == 0 and done.out == f"Report: {out / 'report.html'}\n" and "10 finished runs" in done.err
    done = report(out, "--quiet", "--out", tmp_path / "more" / "page.html")
    assert (done.out, done.err) == (f"{tmp_path / 'more' / 'page.html'}\n", "")
    assert (tmp_path / "more" / "page.html").read_bytes() == (out / "report.html").read_bytes()


def test_page_of_a_table_does_not_overwrite_the_folders(report, tmp_path):
    out = write_study(tmp_path / "study", {"random": 0.0, "good": 0.05}, datasets=["d"])
    assert report(out).status == 0
    before = (out / "report.html").read_bytes()
    write_table(out / "results.csv", read_study([out]).results.runs[:3])
    done = report(out / "results.csv", "--quiet")
    assert (done.status, done.out) == (0, f"{out / 'results-report.html'}\n")
    assert (out / "report.html").read_bytes() == before != (out / "results-report.html").read_bytes()


def test_markdown(report, study_folder, tmp_path):
    done = report(study_folder, "--format", "markdown")
    assert done.status == 0
    assert done.out.startswith("# Active learning strategies compared\n") and "**Cautions**" in done.out
    assert "bad<b>" not in done.out and "bad&lt;b&gt;&amp;" in done.out
    tables = [block for block in re.split(r"\n\n", done.out) if block.startswith("| ")]
    assert len(tables) == 3 * 2 + 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert re.search(r"\| good \| 5 \| \*\*\d\d\.\d\d ± ", done.out)
    done = report(study_folder, "--format", "markdown", "--table", "wins", "--out", tmp_path / "wins.md")
    assert (tmp_path / "wins.md").read_text().startswith("## d\n\n### Wins, ties and losses")


def test_markdown_escapes_labels(report, tmp_path):
    label = "![x](y)$z$*"
    out = write_study(tmp_path / "study", {"random": 0.0, label: 0.05}, datasets=["_d_"])
    text = report(out, "--format", "markdown").out
    assert label not in text and r"\!\[x\](y)\$z\$\*" in text
    (sentence,) = (line for line in text.splitlines() if line.startswith("2 strategies"))
    assert r"on \_d\_," in sentence


def test_latex(report, study_folder):
    done = report(study_folder, "--format", "latex")
    text = done.out
    assert text.count("\\begin{tabular}{lrrrrrrrl}") == text.count("\\bottomrule") == 2
    assert "\\textbf{" in text and "bad$<$b$>$\\&" in text and "AUBC, \\%" in text
    for line in text.splitlines():
        if line.endswith("\\\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == 8
    assert not re.search(r"(?<!\\)[%_#]", re.sub(r"^%.*$|\\label\{[^}]*\}", "", text, flags=re.M))


def test_latex_escapes_labels(report, tmp_path):
    out = write_study(tmp_path / "study", {"random": 0.0, "*a|b--c---d": 0.02}, datasets=["d_1", "d-1"])
    text = report(out, "--format", "latex").out
    assert re.search(r"^\{\*\}a\\textbar\{\}b-\{\}-c-\{\}-\{\}-d & ", text, flags=re.M)
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(set(labels)) == 2 and "LuaLaTeX" not in text
    write_study(tmp_path / "more", {"ж": 0.0}, datasets=["d"])
    assert "\n% Letters that pdfLaTeX does not know" in report(tmp_path / "more", "--format", "latex").out


def test_csv_contains_no_formulas(report, tmp_path):
    out = write_study(tmp_path / "study", {"random": 0.03, "=1+1": 0.0}, datasets=["d"])
    rows = list(csv.DictReader(report(out, "--format", "csv").out.splitlines()))
    assert [row["strategy"] for row in rows] == ["random", "'=1+1"] and float(rows[1]["difference"]) < 0


@pytest.mark.parametrize("form", ["html", "markdown", "csv", "latex"])
def test_reports_contain_no_control_characters(report, tmp_path, form):
    rows = [f"d\x1b]0;mine\x07,{name},{seed},0,10,0.5,1,1" for name in ("random", "\x9b2Jb\u202e") for seed in range(2)]
    head = "dataset,strategy,seed,round,n_labeled,accuracy,train_s,query_s"
    (tmp_path / "results.csv").write_text("\n".join([head, *rows]))
    done = report(tmp_path / "results.csv", "--format", form)
    text = (tmp_path / "results-report.html").read_text() if form == "html" else done.out
    assert done.status == 0 and "\N{REPLACEMENT CHARACTER}" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text + done.out + done.err)


@pytest.mark.parametrize("name", ["\x07=1+1", "\t=1+1", " @SUM(A1)", "\uff1d1+1"])
def test_csv_contains_no_disguised_formulas(report, tmp_path, name):
    head = "dataset,strategy,seed,round,n_labeled,accuracy,train_s,query_s"
    (tmp_path / "results.csv").write_text(f'{head}\nd,"{name}",0,0,10,0.5,1,1\n')
    (row,) = csv.DictReader(report(tmp_path / "results.csv", "--format", "csv").out.splitlines())
    assert row["strategy"].startswith(("'", "\N{REPLACEMENT CHARACTER}"))


def test_csv(report, study_folder, tmp_path):
    done = report(study_folder, "--format", "csv", "--table", "cost")
    assert len(list(csv.DictReader(done.out.splitlines()))) == 10
    done = report(study_folder, "--format", "csv", "--out", tmp_path / "tables")
    names = {path.stem for path in (tmp_path / "tables").iterdir()}
    assert names >= {"accuracy", "wins", "cost", "penalties", "ranking", "runs", "settings", "versions", "cautions"}
    assert done.out == f"Tables: {tmp_path / 'tables'}\n"


def test_plots(report, tmp_path):
    out = write_study(tmp_path / "study", {"random": 0.0, "picker": 0.05}, datasets=["d"])
    assert report(out, "--plots", tmp_path / "plots").status == 0
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == sorted(
        f"{name}.{form}"
        for name in ("deltas-d", "learning-curves-d", "time-total-d", "weights-picker-d", "penalties")
        for form in ("png", "svg")
    )
    assert (tmp_path / "plots" / "deltas-d.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no PATH given"),
        (("nowhere",), "nowhere holds no runs"),
        (("STUDY/d",), "STUDY/d is part of a benchmark: give its folder, STUDY"),
        (("STUDY/d/good",), "STUDY/d/good is part of a benchmark: give its folder, STUDY"),
        (("STUDY", "STUDY/d/good/seed-0"), "several PATHs: give a file for the page, such as --out report.html"),
        (("STUDY", "--format", "csv", "--table", "acuracy"), "unknown table 'acuracy'. Did you mean 'accuracy'?"),
        (("STUDY", "--table", "accuracy"), "the page holds all tables"),
        (("STUDY", "--baseline", "god"), "unknown strategy of these runs 'god'. Did you mean 'good'"),
        (("STUDY", "--out", "."), "is a folder: name a file in it"),
        (("STUDY", "--format", "csv", "--table", "wins", "--table", "cost"), "one CSV holds one table"),
        (("STUDY", "--format", "pdf"), "'pdf' is not one of"),
    ],
)
def test_wrong_use(report, study_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = report(*(word.replace("STUDY", str(study_folder)) for word in arguments))
    (line,) = (line for line in done.err.splitlines() if line.startswith("Error"))
    assert done.status == 2 and message.replace("STUDY", str(study_folder)) in line
    assert list(tmp_path.iterdir()) == [] and not (study_folder / "report.html").exists()


@pytest.mark.parametrize(
    ("form", "name"), [("html", "mine.html"), ("markdown", "mine.md"), ("latex", "mine.tex"), ("csv", "accuracy.csv")]
)
def test_only_a_report_is_replaced(report, study_folder, tmp_path, form, name):
    mine = tmp_path / "out" / name
    mine.parent.mkdir()
    mine.write_text("my notes, for years\n")
    out = mine.parent if form == "csv" else mine
    done = report(study_folder, "--format", form, "--out", out)
    assert done.status == 2 and f"Error: --out {mine} exists and was not written by this command" in done.err
    assert mine.read_text() == "my notes, for years\n" and len(list(mine.parent.iterdir())) == 1
    for content in ("", None):  # an empty file, and then the report itself
        if content is not None:
            mine.write_text(content)
        assert report(study_folder, "--format", form, "--out", out).status == 0
        assert mine.stat().st_size > 100


def test_the_input_is_not_replaced(report, study_folder, tmp_path, make_results):
    table = write_table(tmp_path / "results.csv", make_results(["random", "good"]).runs)
    before = table.read_bytes()
    done = report(table, "--out", table)
    assert done.status == 2 and f"--out {table} is the input itself" in done.err and table.read_bytes() == before
    config = study_folder / "d" / "good" / "seed-0" / "config.json"
    before = config.read_bytes()
    done = report(study_folder, "--format", "latex", "--out", config)
    assert done.status == 2 and "was not written by this command" in done.err and config.read_bytes() == before


def test_only_files_are_replaced(report, study_folder, tmp_path):
    pipe, link, target = tmp_path / "pipe", tmp_path / "link.html", tmp_path / "target.html"
    os.mkfifo(pipe)
    for form in ("html", "markdown", "latex", "csv"):
        done = report(study_folder, "--format", form, "--out", pipe)
        assert done.status == 2 and f"Error: --out {pipe} is " in done.err
    assert pipe.is_fifo()
    link.symlink_to(target)
    assert report(study_folder, "--out", link).status == 0
    assert link.is_symlink() and target.read_text().startswith("<!DOCTYPE html>")


def test_plots_replace_only_plots(report, study_folder, tmp_path):
    (tmp_path / "plots").mkdir()
    mine = tmp_path / "plots" / "deltas-e.png"
    mine.write_bytes(b"\x89PNG of mine")
    arguments = (study_folder, "--out", tmp_path / "page.html", "--plots", tmp_path / "plots")
    done = report(*arguments)
    assert done.status == 2 and f"--plots {mine} exists" in done.err and list(mine.parent.iterdir()) == [mine]
    mine.unlink()
    assert [report(*arguments).status for _ in range(2)] == [0, 0]


def test_images_of_first_picks(tmp_path):
    from deepal_autoal import load_dataset
    from deepal_autoal.report import make_contents
    from deepal_autoal.report.figure_list import Drawings
    from deepal_autoal.report.first_images import first_pictures

    data = load_dataset("digits")
    described = json.loads(json.dumps(data.describe()))
    for strategy in ("random", "good"):
        write_run(tmp_path / "s" / "digits" / strategy / "seed-2", [0.5, 0.6], seed=2, strategy=strategy,
                  dataset=described, settings={"dataset": "digits", "data_dir": str(tmp_path / "none")})  # fmt: skip
    contents = make_contents([tmp_path / "s"])
    pictures, seed, note = first_pictures(contents.study, "digits")
    assert seed == 2 and note is None and sorted(pictures) == ["good", "random"]
    assert (pictures["good"] == data.x_train[20:30]).all()
    drawings = Drawings(contents)
    assert [drawing.kind for drawing in drawings.of("digits")][-1] == "first-picks"
    # Different data under the same name: no images, and a note that says so.
    write_run(tmp_path / "t" / "digits" / "good" / "seed-2", [0.5, 0.6], seed=2, strategy="good",
              dataset={**described, "fingerprint": "0"}, settings={"dataset": "digits", "data_dir": None})  # fmt: skip
    drawings = Drawings(make_contents([tmp_path / "t"]))
    assert "first-picks" not in [drawing.kind for drawing in drawings.of("digits")]
    assert "not available" in drawings.notes("digits")[-1]


def test_a_report_downloads_nothing(tmp_path, monkeypatch):
    from deepal_autoal.datasets.files import download
    from deepal_autoal.report import make_contents
    from deepal_autoal.report.first_images import first_pictures

    monkeypatch.setattr(download, "_fetch", lambda *arguments: pytest.fail("it went to the network"))
    write_run(tmp_path / "s", [0.5, 0.6], seed=0, dataset={"name": "mnist", "kind": "images"},
              settings={"dataset": "mnist", "data_dir": str(tmp_path / "empty")})  # fmt: skip
    pictures, _, note = first_pictures(make_contents([tmp_path / "s"]).study, "mnist")
    assert pictures == {} and "not available" in note and str(tmp_path) not in note


def test_warnings_of_the_data_are_marked_as_such(tmp_path, report):
    write_run(tmp_path / "s", [0.5, 0.6], seed=0, dataset={"name": "d", "kind": "images"})
    done = report(tmp_path / "s")
    assert done.status == 0 and "\nWarning: cannot read the images of d: " in f"\n{done.err}"
