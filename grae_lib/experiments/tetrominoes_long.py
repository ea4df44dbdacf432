"""Tetrominoes, trained four times as long: does it change what the rate–distortion curves say?"""

from __future__ import annotations

from ._rate_distortion import CAPACITIES, CONVOLUTIONAL, DEEP, LONG, TRAINING, grid, measure, smoke
from .base import Experiment, Job
from .tetrominoes_rd import CPU_STEPS, SHAPE, SPLITS

#: How many times the steps of tetrominoes-rd.
TIMES = 4
#: Enough for the sign of the effect and the bracket test; one layer has all twelve.
SOME = (0.001, 0.01, 0.1, 1.0)
FEW = (0.001, 0.1)


def jobs(scale: str) -> list[Job]:
    """smoke: two β. cpu: 3 seeds; on 1,024 shapes one layer at 12 β, three layers at 4, a
    convolutional network at 2; on half of the grid three layers at 4. gpu: in colour at 32×32, all
    networks of tetrominoes-rd.
    """
    if scale == "smoke":
        return smoke("thinned", SPLITS["thinned"], SHAPE)
    few = {"thinned": SPLITS["thinned"]}
    many = {"easy": SPLITS["easy"]}
    if scale == "cpu":
        training = TRAINING | {"steps": TIMES * CPU_STEPS, "log_every": TIMES * 500}
        shallow, deep = ({name: CAPACITIES[name]} for name in ("depth1", "depth3"))
        return [
            *grid(few, shallow, SHAPE, training, seeds=3),
            *grid(few, deep, SHAPE, training, seeds=3, betas=SOME),
            *grid(few, CONVOLUTIONAL, SHAPE, training, seeds=3, betas=FEW),
            *grid(many, deep, SHAPE, training, seeds=3, betas=SOME),
        ]
    color = {k: v | {"size": 32, "color": True} for k, v in (few | many).items()}
    training = LONG | {"steps": TIMES * LONG["steps"], "log_every": TIMES * 500}
    return grid(color, DEEP, [3, 32, 32], training, seeds=3, betas=SOME)


EXPERIMENT = Experiment(
    name="tetrominoes-long",
    claim="What lowering β does to held-out shapes does not hang on when training stops (a check "
    "of our own on tetrominoes-rd).",
    jobs=jobs,
    measure=measure,
)
