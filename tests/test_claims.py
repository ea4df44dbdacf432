"""The ledger: its rule, what it measures, and the marks that bind numbers in the text."""

from __future__ import annotations

import doctest
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grae_lib import results
from grae_lib.__main__ import app
from grae_lib.claims import entries, evidence, marks, table, values
from grae_lib.claims.evidence import Observation
from grae_lib.storage import DamagedFile

ROOT = Path(__file__).resolve().parents[1]


def observation(value: float | None, **bounds: Any) -> Observation:
    return Observation("a number", None if value is None else (value,), **bounds)


def record(experiment: str, run: str, labels: dict, metrics: dict) -> dict:
    """A result as the store holds it, with made-up numbers."""
    return {
        "format": results.FORMAT,
        "experiment": experiment,
        "scale": "cpu",
        "run": run,
        "job": {"labels": labels},
        "status": "finished",
        "metrics": metrics,
        "provenance": {
            "commit": "0123456789ab",
            "device": "cpu",
            "processor": "x86_64",
            "seconds": 60.0,
            "versions": {"torch": "2.15.0"},
            "data": {"name": "mnist", "source": "<script>alert(1)</script>", "sha256": "ab" * 32},
        },
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of six runs: two methods, three seeds, β = 1."""
    root = tmp_path / "store"
    for seed in range(3):
        for method, value in (("beta_vae_diagonal", 20.0), ("grae_one_column", 19.0 - seed)):
            labels = {"method": method, "beta": 1.0, "seed": seed}
            metrics = {"test/optimal/beta_vae": value, "cosines": [[1.0]]}
            results.write_run(record("mnist-objectives", f"{method}_{seed}", labels, metrics), root)
    results.write_manifest(root)
    return root


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A project with one page and one chapter."""
    folder = tmp_path / "project" / "book"
    folder.mkdir(parents=True)
    page = "# A page\n\nthe gap is <!--=gap[theta=45] as .3f-->0.750<!--/--> nats\n"
    (folder / "page.md").write_text(page, encoding="utf-8")
    cells = [
        {"cell_type": "code", "source": ["x = 0.1\n"], "outputs": [], "metadata": {}, "id": "a"},
        {
            "cell_type": "markdown",
            "source": ["Here <!--=gap[theta=15] as .3f-->0.313<!--/-->\n", "and *more*."],
            "metadata": {},
            "id": "b",
        },
    ]
    chapter = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    text = json.dumps(chapter, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    (folder / "chapter.ipynb").write_text(text, encoding="utf-8")
    return folder.parent


# --- the rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1.0, 1.0], "reproduced"),
        ([1.0, 0.0], "partly"),
        ([0.0, 0.0], "not reproduced"),
        ([None, None], "untested here"),
        ([1.0, None], "partly"),
        ([0.0, None], "not reproduced"),
        ([], "untested here"),
    ],
)
def test_the_verdict_follows_from_the_numbers(numbers: list, expected: str) -> None:
    assert entries.verdict([observation(n, at_least=0.5) for n in numbers]) == expected


def test_a_bound_is_met_or_missed() -> None:
    assert observation(1.0, at_most=1.0).holds
    assert not observation(1.0 + 1e-12, at_most=1.0).holds
    assert not observation(math.nan, at_least=-1.0).holds
    assert not observation(math.inf, at_least=0.0, at_most=1.0).holds
    mixed = Observation("x", (0.0, 2.0), at_least=0.5)
    assert mixed.holds
    assert not Observation("x", (0.0, 2.0), at_least=0.5, every=True).holds


def test_rounding_errors_are_shown_as_such_and_numbers_are_not() -> None:
    assert observation(3e-16, at_most=1e-9).text == "below 10⁻⁹"
    assert observation(0.0, at_least=1e-3).text == "0.00"
    assert observation(-1.5, at_most=0.0, unit="nats").text == "−1.50 nats"
    assert observation(None, at_most=1.0).text == "not stored"


def test_every_slide_and_abstract_is_covered_and_every_claim_is_measurable() -> None:
    sources = {claim.source for claim in entries.CLAIMS}
    for kind, _, mark in table._KINDS:
        assert any(mark in source for source in sources), kind
    for claim in entries.CLAIMS:
        assert claim.measured_by, claim.id
        assert claim.refuted_by, claim.id
        assert table.kind_of(claim.source)
    with pytest.raises(ValueError, match="there is no claim 'nonsense'; the ids are objective"):
        entries.get("nonsense")


@pytest.mark.parametrize("claim", entries.CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_leads_to_a_section_of_the_book(claim: entries.Claim) -> None:
    chapter = ROOT / "book" / f"{claim.chapter}.ipynb"
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    assert claim.section in headings, f"{chapter.name} has no heading {claim.section!r}"


def test_closed_forms_are_exact_and_a_changed_constant_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert all(o.holds for o in evidence.linear_minimum(tmp_path))
    assert entries.get("one-column").judge(tmp_path).observations[0].holds
    right = evidence.objectives.log_det_regularizer
    monkeypatch.setattr(
        evidence.objectives, "log_det_regularizer", lambda G, beta: 1.01 * right(G, beta)
    )
    assert entries.verdict(evidence.linear_minimum(tmp_path)) != "reproduced"


# --- what a claim says about rates becomes measured by itself -------------------------------------


def rd_store(root: Path, slope: float) -> None:
    """Four settings; test distortion rises with β by `slope`, information falls with β."""
    for depth in (1, 2):
        for split in ("easy", "hard"):
            for k, beta in enumerate((0.1, 0.3, 1.0, 3.0)):
                information = [9.0, 8.95, 5.0, 2.0][k]
                metrics = {"train/mutual_information": information, "train/distortion": 1.0 + k}
                metrics |= {"test/distortion": 10.0 + slope * k, "train/marginal_kl": 4.0 - k}
                metrics |= {"train/rate": metrics["train/marginal_kl"] + information}
                metrics |= {"test/rate": 1.0, "train/entropy_floor": 0.5, "test/entropy_floor": 0.5}
                labels = {"method": "beta_vae", "beta": beta, "seed": 0}
                labels |= {"depth": depth, "split": split}
                for name in evidence.RD:
                    run = f"b{beta:g}_{depth}_{split}"
                    results.write_run(record(name, run, labels, metrics), root)
    results.write_manifest(root)


RATE_CLAIMS = ("lower-rate-generalises", "after-saturation", "prior-no-bias")


@pytest.mark.parametrize(("slope", "expected"), [(2.0, True), (-1.0, False)])
def test_claims_on_rates_are_untested_until_results_arrive(
    tmp_path: Path, slope: float, expected: bool
) -> None:
    for name in (*RATE_CLAIMS, "less-information-underfits", "controlled"):
        assert entries.get(name).judge(tmp_path).verdict == "untested here"
    rd_store(tmp_path, slope)
    for name in RATE_CLAIMS:
        judged = entries.get(name).judge(tmp_path)
        assert judged.observations[0].holds is expected, name
        assert (judged.verdict == "reproduced") is expected
    for name in ("less-information-underfits", "controlled", "rate-bounds-information"):
        assert entries.get(name).judge(tmp_path).verdict == "reproduced", name


# --- addresses ------------------------------------------------------------------------------------


def test_the_examples_of_the_addresses_are_right() -> None:
    assert doctest.testmod(values).failed == 0


def test_numbers_of_the_store_by_address(store: Path) -> None:
    one = "mnist-objectives/test/optimal/beta_vae[method=grae_one_column,beta=1]"
    assert values.number(f"{one}:mean", store) == pytest.approx(18.0)
    assert values.number(f"{one}:spread", store) == pytest.approx(1.0)
    assert values.number(f"{one}:count", store) == 3
    assert values.number("difference[method=grae_one_column,beta=1.0]", store) == pytest.approx(-2)
    assert values.number("relative[method=grae_one_column,beta=1]:percent", store) == pytest.approx(
        -10.0
    )
    assert values.number("runs[experiment=mnist-objectives]", store) == 6


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("a b", "is not an address"),
        ("gap[45]", "is not label=value"),
        ("gap:median2", "is not an address"),
        ("gap:mode", "statistic 'mode'"),
        ("nothing", "there is no number 'nothing'"),
        ("gap[phi=3]", "does not take these labels"),
        ("mnist-objectives/test/optimal/beta_vae[beta=7]", "beta=7 chooses no run"),
        ("mnist-objectives/loss", "has no number 'loss'"),
        ("mnist-objectives/cosines", "has no number 'cosines'"),
    ],
)
def test_a_wrong_address_says_what_there_is(store: Path, address: str, message: str) -> None:
    with pytest.raises(values.UnknownAddress, match=re.escape(message)):
        values.number(address, store)


def test_results_that_are_not_stored_are_named(tmp_path: Path) -> None:
    with pytest.raises(results.MissingResult, match="python -m grae_lib run mnist-structure"):
        values.number("mnist-structure/across", tmp_path)


def test_a_changed_byte_in_a_record_stops_every_number_that_reads_it(store: Path) -> None:
    address = "mnist-objectives/test/optimal/beta_vae[method=grae_one_column]"
    assert values.number(address, store) == pytest.approx(18.0)
    path = next(store.rglob("grae_one_column_0.json"))
    path.write_bytes(path.read_bytes().replace(b"19.0", b"18.0"))
    with pytest.raises(DamagedFile, match=r"grae_one_column_0\.json has changed since"):
        values.number(address, store)


@pytest.mark.parametrize(
    ("value", "how", "text"),
    [
        (0.25, ".2f,bare", ".25"),
        (-0.25, ".2f,bare", "−.25"),
        (10.0, ".1f,bare", "10.0"),
        (0.004, "+.2f", "+0.00"),
        (-0.004, ".2f", "0.00"),
        (12345.6, ",d", "12,346"),
        (2.5e-9, ".0e", "3e−09"),
    ],
)
def test_numbers_are_written_as_a_sentence_needs_them(value: float, how: str, text: str) -> None:
    assert values.shown(value, how) == text


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="'two digits' is not a format"):
        values.shown(1.0, "two digits")


# --- marks ----------------------------------------------------------------------------------------


def faults(source: str, store: Path = results.STORE) -> list[str]:
    return marks.check_text(marks.Text("page.md", source), store).faults


def test_a_digit_changed_in_the_text_is_found_and_written_back(book: Path) -> None:
    assert [r.faults for r in marks.check(book).values()] == [[], []]
    for name, old in (("page.md", "0.750"), ("chapter.ipynb", "0.313")):
        path = book / "book" / name
        good = path.read_text(encoding="utf-8")
        path.write_text(good.replace(old, "0.751"), encoding="utf-8")
        (fault,) = marks.check(book)[f"book/{name}"].faults
        assert f"'0.751', but gap[theta={45 if old == '0.750' else 15}]" in fault
        assert f"is '{old}'" in fault
        assert marks.write(book) == [f"book/{name}"]
        assert path.read_text(encoding="utf-8") == good
    assert marks.write(book) == []


def test_the_command_line_fails_on_drift(book: Path) -> None:
    arguments = ["claims", "check", "--project", str(book)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    page = book / "book" / "page.md"
    page.write_text(page.read_text().replace("0.750", "0.760"))
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 1
    assert "book/page.md, line 3: the text says '0.760'" in found.output
    assert CliRunner().invoke(app, ["claims", "write", "--project", str(book)]).exit_code == 0
    assert CliRunner().invoke(app, arguments).exit_code == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("the <!--=nonsense-->1<!--/--> it", "there is no number 'nonsense'"),
        ("the <!--=gap-->1", "is not closed"),
        ("<!--=gap as .3f-->0.750<!--/--> nats", "must not begin with a mark"),
        ("- <!--=gap as .3f-->0.750<!--/--> nats", "must not begin with a mark"),
        ("<!--results-->\nIt falls by 3.5 nats.\n<!--/results-->", "'3.5' stands among results"),
        ("<!--results-->\nIt falls by 20 percent.\n<!--/results-->", "'20' stands among results"),
        ("<!--results-->\nIt falls by .5°.\n<!--/results-->", "'.5' stands among results"),
        ("<!--results-->\nIt falls.\n", "is not closed"),
    ],
)
def test_a_fault_in_a_page_is_named(source: str, message: str) -> None:
    assert any(message in fault for fault in faults(source)), faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "It falls by <!--=gap as .3f-->0.750<!--/--> nats,\nthat is by 3.5 percent.\n",
        "| gap | <!--=gap as .3f-->0.750<!--/--> | 3.5 |\n",
        "- one\n- a gap of <!--=gap as .3f-->0.750<!--/-->, or 3.5\n",
    ],
)
def test_beside_a_bound_number_every_other_must_be_bound(source: str) -> None:
    (fault,) = faults(source)
    assert "'3.5' stands among results" in fault
    elsewhere = source.replace("3.5", "three") + "\nAnother paragraph has 3.5 of them.\n"
    assert faults(elsewhere) == []
    rows = "| gap | <!--=gap as .3f-->0.750<!--/--> |\n| a setting | 3.5 |\n"
    assert faults(rows) == []


OUTPUT = " case   slope    at\n   a, b   +2.50  1e-3\n   a, b   −1.25  1,000\n"


@pytest.fixture
def printing(book: Path) -> Path:
    """The project, with a cell that printed a table and a text file of the same."""
    path = book / "book" / "chapter.ipynb"
    chapter = json.loads(path.read_text(encoding="utf-8"))
    lines = OUTPUT.splitlines(keepends=True)
    streams = [
        {"output_type": "stream", "name": "stdout", "text": t} for t in (lines[:1], lines[1:])
    ]
    chapter["cells"][0]["outputs"] = streams
    path.write_text(json.dumps(chapter), encoding="utf-8")
    (book / "book" / "bench.txt").write_text(OUTPUT, encoding="utf-8")
    return book


@pytest.mark.parametrize("cell", ["chapter/a", "bench.txt"])
@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("line='a, b'", "2.50"),
        ("line='a, b',number=2", "0.00"),
        ("line='a, b',nth=2", "−1.25"),
        ("line='a, b', nth=2, number=2", "1000.00"),
    ],
)
def test_a_number_that_a_cell_printed(printing: Path, cell: str, labels: str, text: str) -> None:
    assert marks.computed(f"printed[cell={cell},{labels}]", project=printing) == text


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("cell=nowhere/a", "book/ has no nowhere.ipynb"),
        ("cell=chapter/zz", "no code cell with the id 'zz'"),
        ("cell=chapter/a,line='c'", "printed 0 lines that begin with 'c'"),
        ("cell=chapter/a,line='a, b',nth=3", "printed 2 lines .* nth is 3"),
        ("cell=chapter/a,line='a, b',number=3", "has the numbers .*number is 3"),
        ("cell=../secret.txt", "book/ has no"),
        ("row=1", "printed takes cell, line, number and nth"),
        ("cell=chapter/a,line='a, b',number='x", "is not label=value"),
    ],
)
def test_a_wrong_place_of_a_printed_number_says_what_there_is(
    printing: Path, labels: str, message: str
) -> None:
    with pytest.raises(values.UnknownAddress, match=message):
        marks.computed(f"printed[{labels}]", project=printing)


def test_a_sentence_drifts_when_its_chapter_prints_something_else(printing: Path) -> None:
    page = printing / "book" / "page.md"
    page.write_text("The slope is <!--=printed[cell=chapter/a,line='a, b'] as .1f-->2.5<!--/-->.\n")
    assert marks.check(printing)["book/page.md"].faults == []
    chapter = printing / "book" / "chapter.ipynb"
    chapter.write_text(chapter.read_text().replace("+2.50", "+2.61"))
    (fault,) = marks.check(printing)["book/page.md"].faults
    assert "the text says '2.5'" in fault
    assert "is '2.6'" in fault


@pytest.mark.parametrize(
    "inside",
    [
        "β = .2 to .6, and β of .02, .06 and .1",
        "noise of <!--given-->.05<!--/-->",
        "the formula $\\tfrac12 \\cdot 0.5$ and `x = 0.5`",
        "a gap of <!--=gap as .3f-->0.750<!--/--> nats",
        "[a link](page-1.5.html) of 2020, three seeds, 2,000 steps",
    ],
)
def test_what_needs_no_mark_in_a_results_section(inside: str) -> None:
    assert faults(f"<!--results-->\nThere is {inside}.\n<!--/results-->") == []


def test_a_mark_shown_as_code_is_none() -> None:
    source = "write `<!--=gap-->1<!--/-->`\n\n```\n<!--=gap-->1<!--/-->\n```\n"
    assert faults(source) == []
    assert marks.rewritten(source) == source


def test_a_mark_after_a_directive_is_seen() -> None:
    """The end of one fence is not the beginning of another."""
    source = (
        "```{note} A title\nIn it <!--=gap as .3f-->0.751<!--/-->.\n```\n\n"
        "After it <!--=gap as .3f-->0.752<!--/-->.\n\n```python\nx = 1\n```\n\n"
        "and at the end <!--=gap as .3f-->0.753<!--/-->.\n"
    )
    assert len(faults(source)) == 3
    assert marks.rewritten(source).count(">0.750<") == 3


def test_the_ledger_can_be_quoted(tmp_path: Path) -> None:
    assert marks.computed("verdict[claim=hadamard]") == "reproduced"
    assert marks.computed("relu-expectation as .2f") == "1.00"
    with pytest.raises(values.UnknownAddress, match="verdict 'maybe' is unknown"):
        marks.computed("ledger[verdict=maybe]")


def test_every_bound_number_of_the_book_is_what_is_computed_now() -> None:
    found = [fault for report in marks.check().values() for fault in report.faults]
    assert found == []


@pytest.mark.parametrize("claim", entries.CLAIMS, ids=lambda claim: claim.id)
def test_anchors_are_those_of_the_page_builder(claim: entries.Claim) -> None:
    nodes = pytest.importorskip("docutils.nodes")
    assert table.slug(claim.section) == nodes.make_id(claim.section)


# --- tables ---------------------------------------------------------------------------------------


def test_provenance_names_what_a_reader_needs_and_escapes_what_a_file_says(store: Path) -> None:
    shown = table.Provenance("mnist-objectives", root=store)
    for expected in ("mnist-objectives", "0123456789ab", "cpu", "ab" * 32, "6, 0 diverged"):
        assert expected in repr(shown)
    text = shown._repr_html_()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<details") == 1


def test_the_fingerprint_is_that_of_a_list_that_sha256sum_writes() -> None:
    import hashlib

    lines = b"aa  one\nbb  two\n"
    assert table.fingerprint({"two": "bb", "one": "aa"}) == hashlib.sha256(lines).hexdigest()


def test_the_ledger_needs_no_script(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAE_STATIC", "1")
    text = table.Ledger(store)._repr_html_()
    assert "<script" not in text
    assert "onclick" not in text
    assert "style=" not in text
    assert text.count("<tr ") == len(entries.CLAIMS)
    assert text.count('scope="row"') == len(entries.CLAIMS)
    style = table.STYLE.read_text()
    for verdict in entries.VERDICTS:
        assert f'[value="{verdict}"]:checked' in style
    for kind, _, _ in table._KINDS:
        assert f'[value="{kind}"]:checked' in style


def test_intervals_over_seeds_are_students(store: Path) -> None:
    address = "mnist-objectives/test/optimal/beta_vae[method=grae_one_column]:interval"
    assert values.number(address, store) == pytest.approx(4.303 / math.sqrt(3), rel=1e-4)
    with pytest.raises(values.UnknownAddress, match="an interval over one value"):
        values.number("gap:interval", store)


def test_distances_of_samples_are_averaged_over_draws(tmp_path: Path) -> None:
    for method, draws in (("beta_vae_diagonal", [10.0, 12.0]), ("grae_one_column", [15.0, 17.0])):
        labels = {"method": method, "beta": 0.1, "seed": 0}
        results.write_run(record("mnist-samples", method, labels, {"frechet": draws}), tmp_path)
    assert values.number("sample-difference[beta=0.1]", tmp_path) == pytest.approx(5.0)
    found = evidence.samples_small_beta(tmp_path)
    assert [o.sample for o in found][:2] == [None, None]
    assert found[2].sample == pytest.approx((16 / 11,))
    assert found[2].holds is False
