"""The ledger as a table with filters, and the provenance of an experiment, both as plain HTML.

No script is involved: the filters are radio buttons and a style sheet, so that they work from a
folder, under a strict Content-Security-Policy and in a notebook's output. The table's rows are
readable without the style sheet as well.
"""

from __future__ import annotations

import html
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import results
from ..results import STORE
from .entries import VERDICTS, Judgement, judge_all

#: Where pages find the records that the book carries along (see grae_lib.sphinx_ext.store).
STORE_PAGES = "../_static/store"

STYLE = Path(__file__).with_name("ledger.css")

#: Sources, as the filter names them.
_KINDS = (
    ("slides", "the talk's slides", "slide"),
    ("kumar2020", "its abstract", "Poole 2020, abstract"),
    ("bozkurt2021", "the second abstract", "2021, abstract"),
    ("ours", "this book", "this book"),
)


def slug(heading: str) -> str:
    """The anchor that the book gives to a heading."""
    # As docutils makes it; a reader who has the library alone has no docutils.
    plain = unicodedata.normalize("NFKD", heading.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"^[-0-9]+|-+$", "", re.sub(r"[^a-z0-9]+", "-", " ".join(plain.split())))


def kind_of(source: str) -> str:
    """Which of the filters a claim's source belongs to."""
    return next(kind for kind, _, mark in _KINDS if mark in source)


def coverage(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Counts: claims by source and verdict, how many were measured."""
    return {
        "claims": len(judgements),
        "of the sources": sum(kind_of(j.claim.source) != "ours" for j in judgements),
        "measured": sum(j.verdict != "untested here" for j in judgements),
        "by verdict": dict(Counter(j.verdict for j in judgements)),
    }


def _href(judgement: Judgement) -> str:
    claim = judgement.claim
    ending = "html" if os.environ.get("GRAE_STATIC") else "ipynb"
    return f"{claim.chapter}.{ending}#{slug(claim.section)}"


def _observation(o: Any) -> str:
    mark = {True: "meets", False: "misses", None: "not stored"}[o.holds]
    sign = {True: "✓", False: "✗", None: "–"}[o.holds]
    seeds = f"; seeds: {o.seeds}" if o.seeds else ""
    return (
        f'<li class="grae-{mark.replace(" ", "-")}"><span title="{mark} its bound">{sign}</span> '
        f"{html.escape(o.what)}: <strong>{html.escape(o.text)}</strong> "
        f"<small>(bound: {html.escape(o.bound)}{seeds})</small></li>"
    )


def _files(judgement: Judgement) -> str:
    if not judgement.claim.experiments:
        return "computed on the spot"
    links = []
    for name in judgement.claim.experiments:
        known = (STORE / name).is_dir()
        if os.environ.get("GRAE_STATIC") and known:
            links.append(f'<a href="{STORE_PAGES}/{name}.html">{name}</a>')
        else:
            links.append(f"<code>{name}</code>" + ("" if known else " (not stored)"))
    return ", ".join(links)


def _row(judgement: Judgement) -> str:
    claim = judgement.claim
    first = judgement.observations[0]
    worst = next((o for o in judgement.observations if o.holds is False), first)
    seeds = max((o.seeds or 0 for o in judgement.observations), default=0)
    listed = "".join(map(_observation, judgement.observations))
    more = (
        f"<details><summary>{len(judgement.observations)} observation"
        f"{'s' if len(judgement.observations) > 1 else ''}</summary>"
        f"<p>{html.escape(claim.measured_by)}</p><ul>{listed}</ul>"
        f"<p>Would be refuted by: {html.escape(claim.refuted_by)}</p></details>"
    )
    return (
        f'<tr id="claim-{claim.id}" data-verdict="{judgement.verdict}" '
        f'data-source="{kind_of(claim.source)}">'
        f'<th scope="row">{html.escape(claim.statement)}<br><small>{html.escape(claim.source)}; '
        f"<code>{claim.id}</code></small></th>"
        f'<td class="grae-verdict">{judgement.verdict}</td>'
        f"<td>{html.escape(worst.what)}: <strong>{html.escape(worst.text)}</strong>{more}</td>"
        f"<td>{seeds or '–'}</td>"
        f'<td><a href="{_href(judgement)}">{html.escape(claim.chapter.replace("_", " "))}</a><br>'
        f"<small>{_files(judgement)}</small></td></tr>"
    )


def _filter(name: str, legend: str, options: Sequence[tuple[str, str]]) -> str:
    inputs = "".join(
        f'<label><input type="radio" name="grae-{name}" value="{value}"'
        f"{' checked' if value == 'all' else ''}> {html.escape(label)}</label> "
        for value, label in (("all", "all"), *options)
    )
    return f"<fieldset><legend>{legend}</legend>{inputs}</fieldset>"


class Ledger:
    """All claims, judged; shows itself as a table in a notebook and in the book."""

    def __init__(self, root: Path = STORE) -> None:
        self.judgements = judge_all(root)

    def __repr__(self) -> str:
        counts = Counter(j.verdict for j in self.judgements)
        return f"{len(self.judgements)} claims: " + ", ".join(
            f"{counts[v]} {v}" for v in VERDICTS if counts[v]
        )

    def rows(self) -> list[dict[str, str]]:
        """One plain row a claim, for `plots.as_table` and the command line."""
        return [
            {"claim": j.claim.id, "verdict": j.verdict, "first number": j.observations[0].text}
            for j in self.judgements
        ]

    def _repr_html_(self) -> str:
        counts = Counter(j.verdict for j in self.judgements)
        verdicts = [(v, f"{v} ({counts[v]})") for v in VERDICTS]
        sources = [(kind, label) for kind, label, _ in _KINDS]
        # Pages of the book carry the style sheet; a notebook's output brings it along.
        style = "" if os.environ.get("GRAE_STATIC") else f"<style>{STYLE.read_text()}</style>"
        rows = "\n".join(map(_row, self.judgements))
        return (
            f'{style}<div class="grae-ledger">'
            f"{_filter('verdict', 'Verdict', verdicts)}{_filter('source', 'Source', sources)}"
            '<div class="grae-ledger-scroll" tabindex="0" role="region" aria-label="The ledger">'
            '<table class="grae-ledger-table"><caption>Claims, verdicts and numbers. A row names '
            "the first observation that misses its bound, or else the first one.</caption>"
            '<thead><tr><th scope="col">Claim</th><th scope="col">Verdict</th>'
            '<th scope="col">Number</th><th scope="col">Seeds</th><th scope="col">Where</th></tr>'
            f"</thead><tbody>\n{rows}\n</tbody></table></div></div>"
        )


# --- provenance -----------------------------------------------------------------------------------


def origin(experiment: str, scale: str | None = None, root: Path = STORE) -> dict[str, str]:
    """Where the results of an experiment come from, as words: one entry a line of the fold-out.

    Raises MissingResult if it is not stored.
    """
    records = results.runs(experiment, scale, root)
    scale = records[0]["scale"]

    def each(*path: str) -> str:
        found: list[str] = []
        for record in records:
            value: Any = record
            for key in path:
                value = value.get(key, "?") if isinstance(value, Mapping) else "?"
            if str(value) not in found:
                found.append(str(value))
        return ", ".join(sorted(found))

    seeds = {r["job"]["labels"].get("seed") for r in records}
    failed = sum(r["status"] != "finished" for r in records)
    manifest = results.read_manifest(root)
    prefix = f"{experiment}/{scale}/"
    mine = {name: digest for name, digest in manifest.items() if name.startswith(prefix)}
    seconds = sum(float(r["provenance"].get("seconds", 0)) for r in records)
    return {
        "experiment": experiment,
        "scale": scale,
        "runs": f"{len(records)}, {failed} diverged",
        "seeds": str(len(seeds)),
        "commit": each("provenance", "commit"),
        "device": f"{each('provenance', 'device')} ({each('provenance', 'processor')})",
        "torch": each("provenance", "versions", "torch"),
        "time": f"{seconds / 60:.0f} minutes in all",
        "data": f"{each('provenance', 'data', 'name')} ({each('provenance', 'data', 'source')})",
        "SHA-256 of the data": each("provenance", "data", "sha256"),
        "files": f"{len(mine)}, listed in the manifest",
        "SHA-256 of their manifest": fingerprint(mine),
    }


def fingerprint(manifest: Mapping[str, str]) -> str:
    """One SHA-256 over the lines ``hash  name`` of some files, sorted by name: sha256sum's form."""
    import hashlib

    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(manifest.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


class Provenance:
    """The fold-out beside a figure: `Provenance("mnist-objectives")` at the end of a cell.

    In a page of the book the directive ``grae-provenance`` shows the same without a cell.
    """

    def __init__(self, experiment: str, scale: str | None = None, root: Path = STORE) -> None:
        self.entries = origin(experiment, scale, root)

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {text}" for name, text in self.entries.items())

    def _repr_html_(self) -> str:
        return provenance_html(self.entries)


def provenance_html(entries: Mapping[str, str], link: str = "") -> str:
    """The fold-out's HTML; `link` is the address of the page that lists the files, if there is."""
    rows = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"
        for name, text in entries.items()
    )
    name = html.escape(entries["experiment"])
    summary = f"Where this comes from: {name}, scale {entries['scale']}, {entries['seeds']} seed"
    summary += "s" if entries["seeds"] != "1" else ""
    more = f'<p><a href="{html.escape(link)}">Its files</a></p>' if link else ""
    return (
        f'<details class="grae-provenance"><summary>{summary}</summary>'
        f"<dl>{rows}</dl>{more}</details>"
    )
