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
# # Assignment 2: GRAE's regulariser and its estimator
#
# You build the deterministic objective of Kumar and Poole (2020) from a decoder's Jacobian: the
# log-determinant, its upper bound by columns, and the estimator that needs one column a step.
#
# **Conventions.** $x$ has $n$ entries, $z$ has $d$; the distortion is $\frac12\|x - \hat x\|^2$,
# **summed** over entries; β multiplies the KL divergence; nats; $J = \partial g/\partial z$ is
# (B, n, d). A decoder is a function (B, d) → (B, n) that treats the examples of a batch separately.
# **Points:** 16 by tests, 6 by reading. **Time:** 90 minutes. Float64, seconds on a CPU.

# %%
# On Colab this installs the library and fetches the tests.
import sys

if "google.colab" in sys.modules:
    # %pip install -q "git+https://github.com/grae-companion/grae-companion" otter-grader==7.0.0
    # !git clone -q --depth 1 https://github.com/grae-companion/grae-companion course
    # !cp -r course/assignments/student/grae/tests .

import otter

grader = otter.Notebook("grae.ipynb")

# %%
import torch
from torch.func import jvp

from grae_lib import models

torch.set_default_dtype(torch.float64)

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: the Jacobian by forward mode (3 points)
#
# Write `jacobian(decoder, z)`, which returns $J$ with $J_{b,:,i} = \partial g(z_b)/\partial z_i$.
# One call of `torch.func.jvp(decoder, (z,), (v,))` gives the value and $Jv$ for the whole batch.

# %% [raw]
# # BEGIN SOLUTION

# %%
def jacobian(decoder, z):
    """J (B, n, d) of the decoder at z (B, d)."""
    # BEGIN SOLUTION
    columns = []
    for i in range(z.shape[-1]):
        direction = torch.zeros_like(z)
        direction[:, i] = 1
        columns.append(jvp(decoder, (z,), (direction,))[1])
    return torch.stack(columns, -1)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_linear_decoder(jacobian):
    import torch
    W = torch.arange(12, dtype=torch.float64).reshape(4, 3)
    J = jacobian(lambda z: z @ W.T, torch.ones(5, 3, dtype=torch.float64))
    assert J.shape == (5, 4, 3), f"the shape is {tuple(J.shape)}; expected (B, n, d) = (5, 4, 3)"
    assert torch.allclose(J, W.expand(5, 4, 3)), "the Jacobian of z ↦ W z is W for every example"

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_nonlinear_decoder(jacobian):
    import torch
    from grae_lib import geometry, models
    decoder = models.build(shape=(6,), latent_dim=3, hidden=(7,), seed=3).double().decoder
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got, want = jacobian(decoder, z), geometry.jacobian(decoder, z)[1]
    assert got.shape == want.shape, f"the shape is {tuple(got.shape)}; expected {tuple(want.shape)}"
    assert torch.isfinite(got).all(), "your J holds NaN or infinite entries"
    assert torch.allclose(got, want), "J differs from automatic differentiation for a tanh decoder"

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [markdown]
# ## Question 2: the regulariser (3 points)
#
# Write `log_det(J, beta)` for $\frac\beta2\log|I + J^\top J/\beta|$, shape (B,).

# %% [raw]
# # BEGIN SOLUTION

# %%
def log_det(J, beta):
    """(β/2) log|I + JᵀJ/β|, (B,), nats, for J (B, n, d)."""
    # BEGIN SOLUTION
    P = torch.eye(J.shape[-1], dtype=J.dtype) + J.mT @ J / beta
    return beta / 2 * torch.logdet(P)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_zero_jacobian_and_shape(log_det):
    import torch
    got = log_det(torch.zeros(4, 5, 3, dtype=torch.float64), 0.3)
    assert got.shape == (4,), f"the shape is {tuple(got.shape)}; expected one number an example, (4,)"
    assert torch.allclose(got, torch.zeros(4, dtype=torch.float64)), "a constant decoder costs 0"

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_against_singular_values(log_det):
    import torch
    from grae_lib import objectives
    J = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for beta in (0.1, 1.0, 4.0):
        got, want = log_det(J, beta), objectives.log_det_regularizer_from_jacobian(J, beta)
        assert torch.isfinite(got).all(), "your values hold NaN or infinite entries"
        assert (got >= 0).all(), "the regulariser is never negative; check the sign"
        ratio = (got / want).mean()
        assert torch.allclose(got, want), (
            f"at β = {beta} your value is {ratio:.3f} times (β/2) Σ log(1 + sᵢ²/β), s the singular "
            "values of J; check the factor β/2 and the β inside")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 3

# %% [markdown]
# ## Question 3: the bound by columns (3 points)
#
# Write `columns(J, beta)` for Hadamard's bound $\frac\beta2\sum_i\log(1 + \|J_i\|^2/\beta)$ over the
# columns $J_i$, shape (B,).

# %% [raw]
# # BEGIN SOLUTION

# %%
def columns(J, beta):
    """(β/2) Σᵢ log(1 + ‖Jᵢ‖²/β), (B,), nats, for J (B, n, d)."""
    # BEGIN SOLUTION
    return beta / 2 * torch.log1p(J.square().sum(-2) / beta).sum(-1)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_orthogonal_columns(columns):
    import torch
    J = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).unsqueeze(0)
    got = columns(J, 0.5)
    want = 0.25 * torch.log1p(torch.tensor([2.0, 8.0, 18.0], dtype=torch.float64)).sum()
    assert got.shape == (1,), f"the shape is {tuple(got.shape)}; expected (1,)"
    assert torch.allclose(got[0], want), f"you give {float(got[0]):.4f}, expected {float(want):.4f}"

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_general_columns(columns):
    import torch
    from grae_lib import objectives
    J = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for beta in (0.1, 2.0):
        got, want = columns(J, beta), objectives.column_regularizer(J.mT @ J, beta)
        assert torch.isfinite(got).all(), "your values hold NaN or infinite entries"
        assert torch.allclose(got, want), (
            f"at β = {beta} you give {got.mean():.4f}, expected {want.mean():.4f}: sum the squares "
            "over the n entries of each column, not over the columns of each row")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 4

# %% [markdown]
# ## Question 4: one column a step (4 points)
#
# Write `one_column(decoder, z, beta, index)`: an **unbiased** estimate of the column form when
# `index`, an integer tensor (B,), is drawn uniformly from the $d$ columns, one for each example. Use a
# single `jvp`.

# %% [raw]
# # BEGIN SOLUTION

# %%
def one_column(decoder, z, beta, index):
    """Estimate (B,) of the column form from column index[b] of example b, nats."""
    # BEGIN SOLUTION
    direction = torch.nn.functional.one_hot(index, z.shape[-1]).to(z.dtype)
    column = jvp(decoder, (z,), (direction,))[1]
    return z.shape[-1] * beta / 2 * torch.log1p(column.square().sum(-1) / beta)
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_shape_and_one_latent(one_column):
    import torch
    w = torch.tensor([[3.0], [4.0]], dtype=torch.float64)
    z = torch.zeros(5, 1, dtype=torch.float64)
    got = one_column(lambda z: z @ w.T, z, 1.0, torch.zeros(5, dtype=torch.long))
    assert got.shape == (5,), f"the shape is {tuple(got.shape)}; expected (5,)"
    want = 0.5 * torch.log(torch.tensor(26.0, dtype=torch.float64))
    assert torch.allclose(got, want.expand(5)), "with d = 1 it must equal the column form"

# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
""" # END TEST CONFIG
def test_each_example_has_its_own_column(one_column):
    import torch
    W = torch.tensor([[1.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 9.0]], dtype=torch.float64)
    got = one_column(lambda z: z @ W.T, torch.zeros(3, 3, dtype=torch.float64), 1.0,
                     torch.tensor([0, 1, 2]))
    assert got.shape == (3,), f"the shape is {tuple(got.shape)}; expected (3,)"
    assert got[0] < got[1] < got[2], "example b must use column index[b], not one for the batch"

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_unbiased(one_column):
    import torch
    from grae_lib import geometry, models, objectives
    decoder = models.build(shape=(6,), latent_dim=4, hidden=(7,), seed=5).double().decoder
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    each = [one_column(decoder, z, 0.4, torch.full((3,), i)) for i in range(4)]
    got = torch.stack(each).mean(0)
    J = geometry.jacobian(decoder, z)[1]
    want = objectives.column_regularizer(J.mT @ J, 0.4)
    ratio = float((got / want).mean())
    assert torch.allclose(got, want), (
        f"the mean over all four columns is {ratio:.3f} times the column form; it must be 1. A mean "
        "over d columns is 1/d of their sum")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 3

# %% [markdown]
# ## Question 5: the whole loss (3 points)
#
# Write `loss(model, x, beta)`, the mean over the batch of
# $\frac12\|x - g(h)\|^2 + \frac\beta2\|h\|^2 + \frac\beta2\log|I + J^\top J/\beta|$ with
# $h$ the encoder's mean, `model.encode(x).mean`, and $J$ the Jacobian of `model.decoder` at $h$. You
# may call your own functions.

# %% [raw]
# # BEGIN SOLUTION

# %%
def loss(model, x, beta):
    """Mean over the batch of GRAE's loss, a tensor without dimensions, nats; x (B, *shape)."""
    # BEGIN SOLUTION
    z = model.encode(x).mean
    distortion = 0.5 * (x.flatten(1) - model.decoder(z)).square().sum(-1)
    return (distortion + beta / 2 * z.square().sum(-1) + log_det(jacobian(model.decoder, z), beta)).mean()
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_a_number_that_can_be_differentiated(loss):
    import torch
    from grae_lib import models
    model = models.build(shape=(6,), latent_dim=2, hidden=(5,), seed=6).double()
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value = loss(model, x, 0.3)
    assert value.ndim == 0, f"the loss has shape {tuple(value.shape)}; average over the batch"
    value.backward()
    assert all(p.grad is not None for p in model.decoder[0].parameters()), (
        "no gradient reaches the decoder: was a tensor detached?")

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_against_the_library(loss):
    import torch
    from grae_lib import models, objectives
    model = models.build(shape=(6,), latent_dim=3, hidden=(5,), seed=7).double()
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for beta in (0.1, 1.5):
        terms = objectives.GRAE(beta)(model, x)
        got, want = float(loss(model, x, beta)), float(terms["total"].mean())
        parts = ", ".join(f"{k} {float(v.mean()):.4f}" for k, v in terms.items())
        assert abs(got - want) < 1e-9 * max(1, abs(want)), (
            f"at β = {beta} you give {got:.4f}; the parts are {parts}. Is the distortion summed "
            "over entries, with its ½? Does β/2 multiply ‖h‖²?")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 6
# manual: true

# %% [markdown]
# ## Question 6: in words (6 points, read by a person)
#
# Someone forgets the factor $d$ in question 4 and reports a lower training loss than the β-VAE. In at
# most 200 words: what was really minimised, why the printed loss is lower, and which one-line check
# would have shown the mistake before training.

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# The mean of the estimate is then 1/d of the column form, so a regulariser weaker by the factor d was
# minimised: column norms grow, the reconstruction improves, and the printed sum leaves out (d − 1)/d
# of the bound. The check: average the estimate over all d columns of one batch and compare with the
# column form; the ratio must be 1.

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION

