"""What a page must have before it is written; each gap is a warning, and ``-W`` makes it an error.

The page builder does not execute chapters (``_config.yml`` says why), so it must not pass over a
cell that has never been run: such a page would show code and no result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util import logging

from .notebooks import gaps

logger = logging.getLogger(__name__)


def warn_unexecuted(app: Any, docname: str, content: list[str]) -> None:
    """Warn for each code cell of a notebook that was never run or that ended in an error."""
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    for gap in gaps(json.loads(content[0])):
        logger.warning("%s; run: make notebooks", gap, location=docname, type="grae")


def warn_missing_alt(app: Any, doctree: nodes.document) -> None:
    """Warn for each picture without alternative text."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            logger.warning(
                "picture %s has no alternative text; in a chapter set mystnb.image.alt in the "
                "metadata of the cell, in a page write ![text](file)",
                image.get("uri", "?"),
                location=image,
                type="grae",
                subtype="alt",
            )
