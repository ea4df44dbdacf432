"""The block of HTML that stands for a widget in a page without a kernel."""

from __future__ import annotations

import html
import json

#: What each widget is, for the picture that stands in for it where scripts do not run.
ALT = {
    "explorer": (
        "Explorer of a trained decoder: a test digit and its reconstruction, a pad and sliders for "
        "the latents, the columns of the Jacobian as images with bars for their norms, heat maps "
        "of the metric and of the posterior covariance, an ellipse, samples of posterior and "
        "prior, and the three terms of GRAE in nats."
    ),
    "rotation": (
        "Curves of the negative ELBO against the angle by which the latent space is turned: flat "
        "for the full family, zero at 0 and 90 degrees and largest at 45 degrees for the "
        "mean-field family. Beside them, the ellipses of the true and the mean-field posterior."
    ),
    "taylor": (
        "A one-dimensional decoder with the Gaussian posterior below it, the distortion with its "
        "first-order, second-order and Gauss-Newton approximations, and the error of each "
        "expectation against beta on logarithmic axes."
    ),
    "playground": (
        "An autoencoder trained in the page: codes of the data in a two-dimensional latent space "
        "with small ellipses of the posterior, the decoded manifold, and the loss terms against "
        "the number of steps."
    ),
    "walk": (
        "Distortion against rate for training and held-out data, one point for each beta, with the "
        "chosen beta marked and a line of slope minus beta through it; beside it eight training "
        "and eight held-out pictures above their reconstructions; a table of rate, distortion, "
        "mutual information and divergence from the prior in nats."
    ),
}
KINDS = tuple(ALT)
#: Replaced by the path to `_static/grae/` when a page is written.
PLACE = "grae-static:"


def check_kind(kind: str) -> None:
    """Raise ValueError unless there is such a widget."""
    if kind not in KINDS:
        raise ValueError(f"there is no widget {kind!r}; choose one of {', '.join(KINDS)}.")


def block(kind: str, state: dict | None = None) -> str:
    """HTML of one widget: its state as JSON and the picture for readers without scripts.

    The text depends on `kind` and `state` only, so that a notebook run again gives the same output.
    """
    check_kind(kind)
    data = json.dumps(state or {}, sort_keys=True, ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<div class="grae-widget" data-grae="{kind}">\n'
        f'<script type="application/json">{data}</script>\n'
        f'<figure class="grae-static"><img src="{PLACE}{kind}.png" '
        f'alt="{html.escape(ALT[kind])}">'
        "<figcaption>A picture of the interactive figure, which needs scripts.</figcaption>"
        "</figure>\n</div>"
    )
