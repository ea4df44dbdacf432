"""Sphinx extension of the book: pages that need no network, and a build that refuses stale pages.

``setup`` is what Sphinx calls. Everything else lives in the submodules:

- :mod:`grae_lib.sphinx_ext.assets` puts MathJax and plotly.js into the built book and takes scripts
  that the book does not use off its pages;
- :mod:`grae_lib.sphinx_ext.plotly_renderer` turns a stored plotly figure into HTML;
- :mod:`grae_lib.sphinx_ext.checks` warns, and so fails a ``-W`` build, on a cell without outputs
  and on a figure without a description;
- :mod:`grae_lib.sphinx_ext.exercises` defines exercises that check themselves in the page;
- :mod:`grae_lib.course.slides` makes a deck of each chapter's page;
- :mod:`grae_lib.sphinx_ext.notebooks` executes chapters whose inputs changed;
- :mod:`grae_lib.sphinx_ext.api` shows docstrings;
- :mod:`grae_lib.sphinx_ext.store` carries the stored records along and shows their provenance.
"""

from __future__ import annotations

from typing import Any


def setup(app: Any) -> dict[str, Any]:
    """Connect the extension to a Sphinx application; returns Sphinx's extension metadata."""
    from ..course import slides
    from . import api, assets, checks, exercises, store

    app.connect("config-inited", assets.add_static_path)
    app.connect("builder-inited", assets.copy_vendor_files)
    app.add_directive("grae-api", api.ApiDirective)
    app.add_directive("grae-provenance", store.ProvenanceDirective)
    app.connect("builder-inited", store.copy_store)
    app.connect("html-page-context", store.fill_links)
    # After the theme and sphinx-thebe have added their scripts to a page (default priority 500).
    app.connect("html-page-context", assets.set_page_scripts, priority=900)
    app.connect("source-read", checks.warn_unexecuted)
    app.connect("doctree-read", checks.warn_missing_alt)
    app.connect("build-finished", assets.mend_pages)
    app.connect("build-finished", slides.on_build, priority=600)
    exercises.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
