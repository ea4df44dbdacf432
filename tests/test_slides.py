"""Decks: what becomes a slide, what becomes a note, and that nothing comes from elsewhere."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from grae_lib.course import slides

PAGE = """<html><head>
<script src="../_static/inline/macros.js"></script>
<script src="../_static/inline/other.js"></script>
<script src="../_static/vendor/mathjax/tex-mml-chtml.js"></script>
<script src="../_static/search.js"></script></head><body><article>
<section id="a"><h1>A title<a class="headerlink" href="#a">#</a></h1><p>Lead in. More of it.</p>
<section id="one"><h2>One</h2>
<p>The first sentence of this one is shown on the slide. The second is for the notes.</p>
<p>This one opens the paragraph. Not this sentence. This one introduces the formula:</p>
<div class="math">\\[ a < b \\]</div>
<div class="proof theorem"><p>Theorem 1</p><p>It holds, see <a href="#a">there</a>.</p></div>
<div class="admonition"><p class="admonition-title">Proof</p><p>By counting.</p></div>
<div class="cell"><div class="cell_input">code()</div>
<div class="cell_output"><pre>printed</pre><img src="../_images/x.png" alt="A curve."></div></div>
<div class="cell"><div class="cell_output"><img src="../_images/y.png" alt="Twice.">
<img src="../_images/y.png" alt="Twice."></div></div>
<p>It costs <!--=gap[theta=45] as .3f-->0.750<!--/--> nats, which is a result of some length.</p>
<p>(An aside, for the notes.)</p>
<p>A remark that leads to nothing on a slide, and so is for the notes:</p>
<div class="admonition"><p>Hidden.</p></div>
<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>ROWS</tbody></table>
<p>See <a href="grae.html">the next one</a> for what follows from this, and why.</p>
</section>
<section id="ex"><h2>Exercises</h2><p>Not for a lecture.</p></section>
</section></article></body></html>"""


ROWS = "".join(f"<tr><td>row {i}</td><td>{'words ' * 20}</td></tr>" for i in range(30))


@pytest.fixture
def deck(tmp_path):
    inline = tmp_path / "_static" / "inline"
    inline.mkdir(parents=True)
    (inline / "macros.js").write_text("window.MathJax = {tex: {macros: {}}}")
    (inline / "other.js").write_text("let a = 1;")
    path = tmp_path / "book" / "uniqueness.html"
    path.parent.mkdir()
    path.write_text(PAGE.replace("ROWS", ROWS))
    return BeautifulSoup(slides.deck(path), "html.parser")


def shown(deck: BeautifulSoup) -> str:
    for notes in deck.select("aside.notes"):
        notes.extract()
    return " ".join(deck.select_one("main").get_text().split())


def test_statements_are_shown_and_the_rest_is_in_the_notes(deck):
    notes = " ".join(aside.get_text() for aside in deck.select("aside.notes"))
    text = shown(deck)
    for words in ("The first sentence", "This one opens", "introduces the formula:", "a < b",
                  "Theorem 1"):  # fmt: skip
        assert words in text
    for words in ("The second is for the notes", "By counting", "printed", "Not this sentence"):
        assert words in notes
        assert words not in text
    assert "code()" not in text + notes
    assert "Not for a lecture" not in text + notes


def test_figures_keep_their_description_and_links_lead_back(deck):
    assert deck.select_one("img")["alt"] == "A curve."
    links = {a["href"] for a in deck.select("main a")}
    assert {"../book/uniqueness.html#a", "../book/grae.html"} <= links
    assert not deck.select("main [id]")


def test_marks_of_numbers_leave_no_trace(deck):
    assert "It costs 0.750 nats" in shown(deck)
    assert "gap[theta" not in str(deck)


def test_asides_and_announcements_of_nothing_are_for_the_notes(deck):
    text = shown(deck)
    assert "An aside" not in text
    assert "leads to nothing" not in text


def test_a_picture_that_comes_twice_is_shown_once(deck):
    assert len(deck.select("img[src$='y.png']")) == 1


def test_a_long_table_takes_several_slides_each_with_its_header(deck):
    tables = deck.select(".deck-table")
    assert len(tables) > 2
    assert all(table.select_one("thead th").get_text() == "a" for table in tables)
    rows = [row.select_one("td").get_text() for table in tables for row in table.select("tbody tr")]
    assert rows == [f"row {i}" for i in range(30)]


def test_a_deck_keeps_the_macros_of_formulas(deck):
    sources = [s["src"] for s in deck.select("script[src]")]
    assert "../_static/inline/macros.js" in sources
    assert "../_static/inline/other.js" not in sources


def test_a_deck_loads_only_what_it_needs_from_the_book(deck):
    sources = [s["src"] for s in deck.select("script[src]")]
    assert "../_static/vendor/mathjax/tex-mml-chtml.js" in sources
    assert "../_static/search.js" not in sources
    assert all(source.startswith("../_static/") for source in sources)


def test_without_a_book_it_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="make book"):
        slides.make(tmp_path)
    page = tmp_path / "x.html"
    page.write_text("<html></html>")
    with pytest.raises(ValueError, match="no chapter of the built book"):
        slides.deck(page)
