# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [raw]
# # ASSIGNMENT CONFIG
# init_cell: false
# export_cell: false
# check_all_cell: true
# tests:
#   ok_format: false
#   files: true

# %% [markdown]
# # Assignment 3: a small rate–distortion study
#
# You compute rate and distortion in closed form where one exists, train three small β-VAEs, and hold
# the curve that they trace against what theory says about it.
#
# **Conventions.** The distortion is $\frac12\|x - \hat x\|^2$, **summed** over the entries of $x$;
# the rate is $\operatorname{KL}(q(z|x)\,\|\,\mathcal N(0, I))$ in nats; β multiplies the rate.
# **Points:** 14 by tests, 8 by reading. **Time:** 90 minutes; the training takes under a minute on a
# CPU.

# %%
# On Colab this installs the library and fetches the tests.
import sys

if "google.colab" in sys.modules:
    # %pip install -q "git+https://github.com/grae-companion/grae-companion" otter-grader==7.0.0
    # !git clone -q --depth 1 https://github.com/grae-companion/grae-companion course
    # !cp -r course/assignments/student/rate_distortion/tests .

import otter

grader = otter.Notebook("rate_distortion.ipynb")

# %%
import torch

from grae_lib import data, evaluation, models, objectives, training

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: the rate of a diagonal Gaussian (3 points)
#
# Write `rate(mean, std)` for $q = \mathcal N(\text{mean}, \operatorname{diag}(\text{std}^2))$, both
# (B, d): the divergence from $\mathcal N(0, I)$, (B,), in nats.

# %% [raw]
# # BEGIN SOLUTION

# %%
def rate(mean, std):
    """KL(N(mean, diag(std²)) ‖ N(0, I)) in nats, (B,); mean and std are (B, d)."""
    # BEGIN SOLUTION
    return 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).sum(-1)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_the_prior_costs_nothing(rate):
    import torch
    got = rate(torch.zeros(3, 2), torch.ones(3, 2))
    assert got.shape == (3,), f"the shape is {tuple(got.shape)}; expected one number an example, (3,)"
    assert torch.allclose(got, torch.zeros(3)), "for q = N(0, I) the rate is 0"

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_against_the_library(rate):
    import torch
    from grae_lib import posteriors
    g = torch.Generator().manual_seed(0)
    mean = torch.randn(4, 3, generator=g, dtype=torch.float64)
    std = torch.rand(4, 3, generator=g, dtype=torch.float64) + 0.1
    got = rate(mean, std)
    want = posteriors.kl_to_standard_normal(mean, torch.diag_embed(std.square()))
    assert torch.isfinite(got).all(), "your values hold NaN or infinite entries"
    assert (got > 0).all(), "a divergence is never negative; check the signs"
    assert torch.allclose(got, want), (
        f"you give {float(got[0]):.4f} nats, the closed form {float(want[0]):.4f}. Natural "
        "logarithms? Variances, not standard deviations, in the trace?")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 4

# %% [markdown]
# ## Question 2: the best linear model (4 points)
#
# For a linear decoder and data whose covariance has eigenvalues $\lambda_1 \ge \lambda_2 \ge \dots$,
# the optimum at β keeps the $k = \min(d, \#\{\lambda_i > \beta\})$ largest and has
# $D^* = \frac12\bigl(k\beta + \sum_{i>k}\lambda_i\bigr)$ and
# $R^* = \frac12\sum_{i\le k}\log(\lambda_i/\beta)$. Write `linear_optimum(eigenvalues, d, beta)`,
# which returns the pair $(D^*, R^*)$; `eigenvalues` is a tensor in **any** order.

# %% [raw]
# # BEGIN SOLUTION

# %%
def linear_optimum(eigenvalues, d, beta):
    """(D*, R*) of the best linear β-VAE with d latents, nats."""
    # BEGIN SOLUTION
    ordered = eigenvalues.sort(descending=True).values
    k = min(d, int((ordered > beta).sum()))
    return float(0.5 * (k * beta + ordered[k:].sum())), float(0.5 * (ordered[:k] / beta).log().sum())
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_collapse(linear_optimum):
    import torch
    D, R = linear_optimum(torch.tensor([0.5, 0.3], dtype=torch.float64), 2, 0.6)
    assert abs(float(R)) < 1e-12, "at β above every eigenvalue the rate is 0"
    assert abs(float(D) - 0.4) < 1e-12, "and the distortion is half the total variance"

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_spectrum(linear_optimum):
    import torch
    spectrum = torch.tensor([0.6, 5.0, 0.1, 3.0, 1.5, 0.3], dtype=torch.float64)
    D, R = map(float, linear_optimum(spectrum, 4, 0.2))
    assert abs(D - 0.6) < 1e-9, f"D* is {D:.4f}, expected 0.6000; were the eigenvalues sorted?"
    assert abs(R - 4.520221) < 1e-5, f"R* is {R:.6f}, expected 4.520221 nats; the ½, or log2?"

# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
""" # END TEST CONFIG
def test_slope_is_minus_beta(linear_optimum):
    import torch
    spectrum = torch.tensor([5.0, 3.0, 1.5, 0.6], dtype=torch.float64)
    (D1, R1), (D2, R2) = linear_optimum(spectrum, 3, 0.99), linear_optimum(spectrum, 3, 1.01)
    slope = (float(D2) - float(D1)) / (float(R2) - float(R1))
    assert abs(slope + 1) < 1e-3, f"dD/dR at β = 1 is {slope:.3f}; it must be −β"

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## A small study
#
# The next cell fixes what is the same for all runs. A thousand digits of the
# embedded MNIST subset keep it short.

# %%
digits = data.load("mnist").x[:1000]
betas = [0.05, 0.4, 3.0]

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: three points of the curve (4 points)
#
# Train a β-VAE (`objectives.BetaVAE`) for each of `betas`: four latents, one hidden layer of 64, seed 0
# (`models.build`); 300 steps, batches of 100, learning rate 0.003 (`training.fit`, with
# `progress=False`). Evaluate each on `digits` (`evaluation.evaluate`). Collect `points`, a list of
# `(rate, distortion)` in the order of `betas`.

# %% [raw]
# # BEGIN SOLUTION

# %%
# BEGIN SOLUTION NO PROMPT
points = []
for beta in betas:
    model = models.build(latent_dim=4, hidden=(64,), seed=0)
    objective = objectives.BetaVAE(beta)
    training.fit(model, digits, objective, steps=300, batch_size=100, lr=3e-3, progress=False)
    found = evaluation.evaluate(model, digits, objective)
    points.append((found["rate"], found["distortion"]))
# END SOLUTION
""" # BEGIN PROMPT
points = ...
""" # END PROMPT

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_three_points(points):
    import math
    assert isinstance(points, list) and len(points) == 3, "points must be a list of three pairs"
    assert all(len(p) == 2 and all(math.isfinite(v) for v in p) for p in points), (
        "each point is a pair (rate, distortion) of finite numbers")

# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
""" # END TEST CONFIG
def test_order(points):
    rates, distortions = zip(*points)
    assert rates[0] > rates[1] > rates[2] >= 0, (
        f"the rates are {[round(r, 2) for r in rates]}; a larger β gives a smaller rate")
    assert distortions[0] < distortions[1] < distortions[2], (
        f"the distortions are {[round(v, 2) for v in distortions]}; a larger β gives a larger one")

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_size(points):
    (r0, d0), _, (r2, d2) = points
    assert 8 < r0 < 25, (
        f"at β = .05 the rate is {r0:.2f} nats; well-trained runs have about 15. Is it the KL "
        "itself, not β times it, and not summed over the batch?")
    assert 10 < d0 < 20, (
        f"at β = .05 the distortion is {d0:.2f}; well-trained runs have about 14. It is ½‖x − x̂‖² "
        "summed over 784 entries")
    assert r2 < 4 and d2 > 20, (
        f"at β = 3 you have rate {r2:.2f} and distortion {d2:.2f}; most latents should be off")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 3

# %% [markdown]
# ## Question 4: what the slope must be (3 points)
#
# For global optima at $\beta_1 < \beta_2$ the chord between two points of the curve satisfies
# $\beta_1 \le -\Delta D/\Delta R \le \beta_2$. Write `chord_is_possible(p1, p2, beta1, beta2)`, which
# returns True if two points `(rate, distortion)` pass this test.

# %% [raw]
# # BEGIN SOLUTION

# %%
def chord_is_possible(p1, p2, beta1, beta2):
    """Whether β₁ ≤ −ΔD/ΔR ≤ β₂ for two points (rate, distortion) and β₁ < β₂."""
    # BEGIN SOLUTION
    slope = -(p2[1] - p1[1]) / (p2[0] - p1[0])
    return bool(beta1 <= slope <= beta2)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_a_chord(chord_is_possible):
    assert chord_is_possible((3.0, 1.0), (2.0, 1.5), 0.2, 0.8) is True, "here −ΔD/ΔR = 0.5"
    assert chord_is_possible((3.0, 1.0), (2.0, 2.5), 0.2, 0.8) is False, "here −ΔD/ΔR = 1.5"

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_the_linear_curve_and_a_bad_run(chord_is_possible):
    import math
    from itertools import pairwise
    spectrum = [5.0, 3.0, 1.5]
    curve = [(0.5 * sum(math.log(v / b) for v in spectrum if v > b),
              0.5 * sum(min(v, b) for v in spectrum), b) for b in (0.2, 0.5, 1.0, 2.0)]
    for (r1, d1, b1), (r2, d2, b2) in pairwise(curve):
        assert chord_is_possible((r1, d1), (r2, d2), b1, b2), "the exact linear curve must pass"
    assert not chord_is_possible((2.0, 3.0), (3.0, 3.5), 0.1, 1.0), (
        "a run at larger β with more rate and more distortion cannot be optimal")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 8
# manual: true

# %% [markdown]
# ## Question 5: in words (8 points, read by a person)
#
# (a) Do your three points pass the test of question 4? Whether they do or not, say what follows about
# the training. (b) The rate splits into the mutual information $I_q(x;z)$ and
# $\operatorname{KL}(q(z)\,\|\,p(z))$, and $I_q \le \log N$. With $N = 1000$, what does your largest rate
# say about the second part? (c) Which split of the data would you hold out to ask whether the rate
# regularises generalisation, and what would you plot? At most 300 words.

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# (a) Passing is necessary, not sufficient: it concerns global optima on the training data. After 300
# steps the low-β run is the least converged; a failing chord shows that one of its two runs is not
# optimal. (b) log 1000 = 6.9 nats, so with a rate of about 15 nats at least 8 nats are
# KL(q(z)‖p(z)): codes far from the prior, not information about x. (c) Hold out combinations of
# factors rather than random images, and plot test distortion against rate, one line for each
# difficulty of the split, with several seeds.

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION

