"""One deck a chapter, made from the chapter's page in the built book.

The page is the source because everything is in it already: set theorems with their numbers,
resolved citations, figures with their descriptions, widgets with their state. A notebook exporter
would show the chapters' MyST marks as text. A deck is `slides/NAME.html` beside `book/`, so a
page's relative addresses stay valid, and it loads the book's own MathJax, widgets and reveal.js: it
works over file:// without network.

A slide takes the first sentence of each paragraph, and formulas, theorems, tables, figures and
widgets whole; the full text, proofs and code outputs become the speaker's notes (key S).
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bs4 import BeautifulSoup, Comment, NavigableString, Tag

from ..sphinx_ext.assets import INLINE, package_folder

#: Lecture decks in order: page under book/.
CHAPTERS = ("uniqueness", "local_geometry", "gaussian_case", "grae", "rate_distortion")
#: Lines that a slide holds, and characters of a line; rows of a table are set smaller.
LINES, WIDTH = 14.0, 76
ROW_LINE, ROW_WIDTH = 0.75, 105
#: Less than this is no slide of its own.
THIN = 4.0
#: Lines of text that may stand above a figure or a widget.
ABOVE = 3.0
#: Lines that a still figure takes, so that a remark fits below it.
FIGURE = 9.0
#: Sentences about cells of code, which a deck does not show.
OF_CODE = re.compile(
    r"\(|(The|This|A|In the|Two) (next |last |first )?(cell|cells|check|checks|column|table|row)\b"
    r"|References are|Read a row|Look at the column|Which intervals fail"
)
#: Sections that are for readers, not for a lecture.
LEFT_OUT = ("Exercises", "References", "Check yourself", "What to take away")
REVEAL = ("reveal.js", "reveal.css", "notes.js")


class Item(NamedTuple):
    """Something to show: its HTML, how many lines it takes, and whether it needs a slide alone."""

    html: str
    lines: float
    alone: bool = False


class Slide(NamedTuple):
    title: str
    items: list[Item]
    notes: list[str]


def reveal_files() -> dict[str, Path]:
    """Name under `_static/vendor/reveal/` -> file of the package that carries reveal.js."""
    folder = package_folder("sphinx_revealjs") / "_static" / "revealjs"
    places = {"reveal.js": "dist", "reveal.css": "dist", "notes.js": "plugin/notes"}
    return {name: folder / places[name] / name for name in REVEAL}


def sentences(paragraph: Tag) -> list[str]:
    """HTML of each sentence; only a point outside inner tags ends one, so tags stay whole."""
    found = [""]
    for child in paragraph.children:
        if not isinstance(child, NavigableString):
            found[-1] += str(child)
            continue
        parts = re.split(r"(?<=[.?!:])\s+(?=[A-Z‘'(])", str(child))
        found[-1] += html.escape(parts[0], quote=False)
        found += [html.escape(part, quote=False) for part in parts[1:]]
    return [sentence for sentence in found if sentence.strip()]


def lead_of(paragraph: Tag) -> str:
    """What to show of a paragraph: its first sentence, and before a formula also its last one."""
    after = paragraph.find_next_sibling()
    said = sentences(paragraph)
    if len(said) > 1 and isinstance(after, Tag) and _is_formula(after):
        return f"{said[0]} {said[-1]}"
    # A first sentence that is very short, or that announces the next one, says too little alone.
    first = re.sub(r"<[^>]*>", "", said[0]).rstrip()
    short = len(said) > 1 and (len(first) < 40 or first.endswith(":"))
    return " ".join(said[:2]) if short else said[0]


def _is_formula(block: Tag) -> bool:
    return "math" in _classes(block) or (
        block.name == "div"
        and not _classes(block) & {"admonition", "proof", "cell"}
        and block.find("div", class_="math", recursive=False) is not None
    )


def text_of(tag: Any) -> str:
    return " ".join(tag.get_text().split())


def set_length(text: str) -> int:
    """Characters of a text as set: a TeX command counts for one, braces and marks for none."""
    text = re.sub(r"<[^>]*>", "", text)
    text = re.sub(r"\\(?:tfrac|d?frac|[bB]ig[lrgm]?|mid|[,;:!()\[\]])", "", text)
    text = re.sub(r"\\[A-Za-z]+", "x", text)
    return len(re.sub(r"[{}$^_\\]", "", text))


def _classes(tag: Tag) -> set[str]:
    return set(tag.get("class") or [])


def _blocks(section: Tag) -> Iterator[Tag]:
    """What stands directly in a section, without its heading and the sections in it."""
    for child in section.find_all(True, recursive=False):
        if child.name not in {"section", "h1", "h2", "h3", "h4", "span"}:
            yield child


def _cell(cell: Tag) -> Iterator[Item]:
    shown: set[str] = set()
    for output in cell.select(".cell_output"):
        for figure in output.select("[data-grae]"):
            yield Item(str(figure), LINES, True)
        for figure in output.select(".grae-plotly"):
            yield Item(str(figure), LINES, True)
        for picture in output.select("img"):
            source = str(picture.get("src"))
            if picture.find_parent(attrs={"data-grae": True}) is None and source not in shown:
                shown.add(source)
                yield Item(str(picture), FIGURE, True)
        for table in output.select("table"):
            yield from _tables(table)


def _tables(table: Tag) -> Iterator[Item]:
    """A table in as many parts as it needs slides, each with its header."""
    head, rows = table.find("thead"), table.select("tbody > tr")
    parts: list[list[Tag]] = [[]]
    used = 0.0
    for row in rows:
        cells = row.find_all(["td", "th"], recursive=False)
        lengths = [set_length(text_of(cell)) for cell in cells]
        longest = max(-(-n * len(cells) // ROW_WIDTH) for n in lengths) if lengths else 1
        lines = ROW_LINE * (longest + 0.5)
        if parts[-1] and used + lines > LINES - 2:
            parts.append([])
            used = 0.0
        parts[-1].append(row)
        used += lines
    for part in parts:
        body = "".join(map(str, part))
        yield Item(
            f'<div class="deck-table"><table>{head or ""}<tbody>{body}</tbody></table></div>',
            LINES,
            True,
        )


def items_of(block: Tag) -> tuple[list[Item], str]:
    """What of a block is shown, and its text for the notes ('' if it is shown whole)."""
    classes = _classes(block)
    if block.name == "p":
        if not text_of(block) or OF_CODE.match(text_of(block)):
            return [], str(block)
        lead = lead_of(block)
        if re.sub(r"<[^>]*>", "", lead).rstrip().endswith(":") and not _leads(block):
            return [], str(block)
        return [Item(f"<p>{lead}</p>", 0.4 + -(-set_length(lead) // WIDTH))], str(block)
    if block.name in {"ul", "ol"}:
        entries = block.find_all("li", recursive=False)
        lines = sum(0.3 + -(-set_length(text_of(entry)) // WIDTH) for entry in entries)
        if lines <= LINES - 2:
            return [Item(str(block), lines)], ""
        leads = [sentences(entry.find("p") or entry)[0] for entry in entries]
        lines = sum(0.3 + -(-set_length(lead) // WIDTH) for lead in leads)
        short = "".join(f"<li>{lead}</li>" for lead in leads)
        return [Item(f"<{block.name}>{short}</{block.name}>", min(lines, LINES))], str(block)
    if _is_formula(block):
        return [Item(str(block), 1.8 + 1.2 * str(block).count("\\\\\n"))], ""
    if "proof" in classes:
        said = BeautifulSoup(str(block), "html.parser")
        formulas = said.select("div.math")
        lines = 2.6 + 2.2 * len(formulas) + 0.5 * len(block.select("li"))
        for formula in formulas:
            formula.decompose()
        lines += set_length(text_of(said)) / (WIDTH - 4)
        return [Item(str(block), min(lines, LINES))], ""
    if "cell" in classes:
        printed = "".join(f"<pre>{html.escape(p.get_text())}</pre>" for p in block.select(
            ".cell_output pre"))  # fmt: skip
        return list(_cell(block)), printed
    if "grae-widget" in classes:
        return [Item(str(block), LINES, True)], ""
    if block.name == "table" or block.select_one("table"):
        table = block if block.name == "table" else block.select_one("table")
        assert table is not None
        return list(_tables(table)), ""
    return [], str(block)


def _leads(paragraph: Tag) -> bool:
    """Whether what follows a paragraph is shown, so that a colon at its end leads somewhere."""
    after = paragraph.find_next_sibling()
    return isinstance(after, Tag) and (
        after.name in {"ul", "ol", "table"} or _is_formula(after) or "cell" in _classes(after)
    )


def slides_of(section: Tag, title: str = "") -> Iterator[Slide]:
    """The slides of a section and of the sections in it, in reading order."""
    heading = section.find(["h2", "h3", "h4"], recursive=False)
    if heading is not None:
        for anchor in heading.select("a.headerlink"):
            anchor.decompose()
        own = "".join(str(child) for child in heading.children)
        title = own
    if any(re.sub(r"<[^>]*>", "", title).startswith(name) for name in LEFT_OUT):
        return
    items: list[Item] = []
    notes: list[str] = []
    used = 0.0
    for block in _blocks(section):
        found, note = items_of(block)
        for item in found:
            full = used > ABOVE if item.alone else used + item.lines > LINES
            if items and full:
                yield Slide(title, items, notes)
                items, notes, used = [], [], 0.0
            items.append(item)
            used += item.lines
            if item.alone:
                yield Slide(title, items, notes)
                items, notes, used = [], [], 0.0
        if note:
            notes.append(note)
    if items or notes:
        yield Slide(title, items, notes)
    for inner in section.find_all("section", recursive=False):
        yield from slides_of(inner, title)


def joined(slides: Iterator[Slide]) -> list[Slide]:
    """Slides of one section that fit on one, put together.

    Notes alone, and a remark of a line or two that would stand alone, go to the notes before.
    """
    found: list[Slide] = []
    for slide in slides:
        last = found[-1] if found else None
        lines = sum(item.lines for item in slide.items)
        thin = lines < THIN and not any(item.alone for item in slide.items)
        if last and (not slide.items or (thin and not _fits(last, slide, lines))):
            last.notes.extend([*(item.html for item in slide.items), *slide.notes])
        elif last and _fits(last, slide, lines):
            last.items.extend(slide.items)
            last.notes.extend(slide.notes)
        elif slide.items:
            found.append(slide)
    return found


def _fits(last: Slide, slide: Slide, lines: float) -> bool:
    return (
        last.title == slide.title
        and not any(item.alone for item in slide.items)
        and sum(item.lines for item in last.items) + lines <= LINES
    )


def _without_ids(text: str) -> str:
    """Ids belong to the page; two elements of a deck may come from one of its places."""
    return re.sub(r'(<(?!script)[^>]*?)\sid="[^"]*"', r"\1", text)


def _linked(text: str, page: str) -> str:
    """Addresses within the page and to its neighbours, as seen from slides/."""
    text = re.sub(r'href="#', f'href="../book/{page}.html#', text)
    return re.sub(r'href="(?![a-z]+:|\.\./|#)([^"]+)"', r'href="../book/\1"', text)


def deck(page: Path) -> str:
    """The HTML of the deck of one built chapter; ValueError if the page has no title."""
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    article = soup.select_one("article")
    title_tag = article.select_one("h1") if article else None
    if article is None or title_tag is None:
        raise ValueError(f"{page} is no chapter of the built book: it has no article with a title.")
    for note in article.find_all(string=lambda text: isinstance(text, Comment)):
        note.extract()
    article.smooth()  # what stood around a comment is one text again
    for extra in article.select("a.headerlink, button, .cell_input, .toggle-details, .solution"):
        extra.decompose()
    for inner in article.select(".proof section"):
        inner.name = "div"  # reveal.js takes every section for a slide
    title = text_of(title_tag)
    outer = title_tag.find_parent("section")
    assert outer is not None
    name = page.stem
    opening = outer.find("p", recursive=False)
    slides = [_title_slide(title, name, sentences(opening)[0] if opening else "")]
    planned = joined(slides_of(outer, title))
    if planned and sum(item.lines for item in planned[0].items) < THIN:
        del planned[0]  # the title slide says it
    for slide in planned:
        body = "".join(item.html for item in slide.items)
        alone = ""
        if any(item.alone for item in slide.items):
            alone = " class='deck-figure'" if len(slide.items) == 1 else " class='deck-below'"
        elif sum(item.lines for item in slide.items) > LINES - 2:
            alone = " class='deck-dense'"
        notes = "".join(slide.notes)
        slides.append(
            f"<section{alone}><h2>{slide.title}</h2>{body}"
            f'<aside class="notes">{notes}</aside></section>'
        )
    scripts = [str(s) for s in soup.find_all("script") if _wanted(s, page.parent)]
    styles = [str(s) for s in soup.find_all("link", rel="stylesheet") if _wanted_style(s)]
    text = _linked(_without_ids("\n".join(slides)), name)
    return PAGE.format(
        title=html.escape(title), styles="\n".join(styles), scripts="\n".join(scripts), slides=text
    )


def _title_slide(title: str, name: str, opening: str) -> str:
    return (
        f'<section class="deck-title"><h1>{html.escape(title)}</h1><p>{opening}</p>'
        f'<p><a href="../book/{name}.html">The chapter</a></p>'
        '<aside class="notes"><p>Keys: arrows to move, S for these notes with a clock, O for the '
        "overview, F for the whole screen, Esc to leave. Widgets are live.</p></aside></section>"
    )


def _wanted(script: Tag, folder: Path) -> bool:
    """Whether a deck needs a script of the page: formulas with their macros, figures, widgets."""
    source = str(script.get("src") or "")
    if f"{INLINE}/" in source:
        return "MathJax" in (folder / source.split("?")[0]).read_text(encoding="utf-8")
    if source:
        return any(part in source for part in ("vendor/mathjax", "_static/grae/", "plotly"))
    return "MathJax" in script.get_text() and "tex" in script.get_text()


def _wanted_style(link: Tag) -> bool:
    return "_static/grae/" in str(link.get("href"))


def make(html_folder: Path) -> list[Path]:
    """Write the decks beside the built pages; returns their paths.

    Raises FileNotFoundError if the book was not built.
    """
    pages = [html_folder / "book" / f"{name}.html" for name in CHAPTERS]
    pages = [page for page in pages if page.is_file()]
    if not pages:
        raise FileNotFoundError(f"{html_folder} holds no chapter; build the book with: make book")
    vendor = html_folder / "_static" / "vendor" / "reveal"
    vendor.mkdir(parents=True, exist_ok=True)
    for name, source in reveal_files().items():
        shutil.copyfile(source, vendor / name)
    shutil.copyfile(Path(__file__).with_name("deck.css"), vendor / "deck.css")
    target = html_folder / "slides"
    target.mkdir(exist_ok=True)
    made = []
    for page in pages:
        path = target / page.name
        path.write_text(deck(page), encoding="utf-8")
        made.append(path)
    return made


def on_build(app: Any, exception: Exception | None) -> None:
    """Make the decks when the book's pages have been written."""
    if exception is None and app.builder.format == "html":
        make(Path(app.outdir))


PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-content_root="../">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Slides: {title}</title>
<link rel="stylesheet" href="../_static/vendor/reveal/reveal.css">
<link rel="stylesheet" href="../_static/vendor/reveal/deck.css">
{styles}
</head>
<body>
<main class="deck"><div class="reveal"><div class="slides">
{slides}
</div></div></main>
{scripts}
<script src="../_static/vendor/reveal/reveal.js"></script>
<script src="../_static/vendor/reveal/notes.js"></script>
<script>
Reveal.initialize({{
  width: 1280, height: 760, margin: 0.03, center: false, hash: false, controls: true,
  slideNumber: "c/t", controlsLayout: "edges", transition: "none", autoAnimate: false,
  plugins: [RevealNotes],
  // Arrow keys belong to a slider while it has the focus.
  keyboardCondition: () => !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName),
}});
// A figure that was drawn on a hidden slide has no width to go by.
Reveal.on("slidechanged", ({{currentSlide}}) => currentSlide
  .querySelectorAll(".js-plotly-plot")
  .forEach((f) => Plotly.relayout(f, {{autosize: true, width: null}})));
</script>
</body>
</html>
"""
