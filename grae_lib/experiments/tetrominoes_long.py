"""Tetrominoes, trained four times as long: does it change what the rate–distortion curves say?"""

from __future__ import annotations

from ._rate_distortion import CAPACITIES, DEEP, LONG, TRAINING, grid, measure, smoke
from .base import Experiment, Job
from .tetrominoes_rd import CPU_STEPS, SHAPE, SPLITS

#: How many times the steps of tetrominoes-rd.
TIMES = 4
BETAS = (0.001, 0.01, 0.1, 1.0)


def jobs(scale: str) -> list[Job]:
    """smoke: two β. cpu: 4 β, 3 seeds, on 1,024 shapes with 1 and 3 layers, on half of the grid
    with 3. gpu: in colour at 32×32, and with 9 layers and a convolutional network too.

    These are the cells of tetrominoes-rd whose training distortion still falls at its last steps,
    or whose curves fail the bracket test (oracle F2).
    """
    if scale == "smoke":
        return smoke("thinned", SPLITS["thinned"], SHAPE)
    few = {"thinned": SPLITS["thinned"]}
    many = {"easy": SPLITS["easy"]}
    if scale == "cpu":
        training = TRAINING | {"steps": TIMES * CPU_STEPS, "log_every": TIMES * 500}
        deep = {"depth3": CAPACITIES["depth3"]}
        return [
            *grid(few, CAPACITIES, SHAPE, training, seeds=3, betas=BETAS),
            *grid(many, deep, SHAPE, training, seeds=3, betas=BETAS),
        ]
    color = {k: v | {"size": 32, "color": True} for k, v in (few | many).items()}
    training = LONG | {"steps": TIMES * LONG["steps"], "log_every": TIMES * 500}
    return grid(color, DEEP, [3, 32, 32], training, seeds=3, betas=BETAS)


EXPERIMENT = Experiment(
    name="tetrominoes-long",
    claim="What lowering β does to held-out shapes does not hang on when training stops (a check "
    "of our own on tetrominoes-rd).",
    jobs=jobs,
    measure=measure,
)
