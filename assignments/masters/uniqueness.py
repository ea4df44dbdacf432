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
# # Assignment 1: uniqueness and rotations
#
# A β-VAE with a Gaussian encoder cannot see a rotation of its latent space through the likelihood.
# It sees it through the family of its posteriors. Here you compute by how much, and test the result
# against the closed form of the chapter *Uniqueness*.
#
# **Conventions.** β multiplies the KL divergence; all values are in nats; $J$ is the decoder's
# Jacobian, $G = J^\top J$, $P = I + G/\beta$. Angles are in degrees, and
# $R(\theta) = \begin{pmatrix}\cos\theta & -\sin\theta\\ \sin\theta & \cos\theta\end{pmatrix}$
# turns the latent $z$ into $z' = R z$. **Points:** 11 by tests, 6 by reading. **Time:** 60 minutes.
# Everything is in float64 and runs in seconds on a CPU.

# %%
# On Colab this installs the library and fetches the tests.
import sys

if "google.colab" in sys.modules:
    # %pip install -q "git+https://github.com/grae-companion/grae-companion" otter-grader==7.0.0
    # !git clone -q --depth 1 https://github.com/grae-companion/grae-companion course
    # !cp -r course/assignments/student/uniqueness/tests .

import otter

grader = otter.Notebook("uniqueness.ipynb")

# %%
import torch

from grae_lib import geometry, rotations

torch.set_default_dtype(torch.float64)

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 2

# %% [markdown]
# ## Question 1: a turned covariance (2 points)
#
# If $z$ has covariance Σ, what is the covariance of $z' = R(\theta) z$? Write
# `turned_covariance(covariance, theta)` for a covariance of shape (B, 2, 2).

# %% [raw]
# # BEGIN SOLUTION


# %%
def turned_covariance(covariance, theta):
    """Covariance (B, 2, 2) of R(θ) z for covariances (B, 2, 2) of z; θ in degrees."""
    # BEGIN SOLUTION
    rotation = rotations.plane_rotation(theta)
    return rotation @ covariance @ rotation.mT
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_no_turn_and_a_quarter_turn(turned_covariance):
    import torch
    S = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64)).unsqueeze(0)
    got = turned_covariance(S, 0)
    assert got.shape == (1, 2, 2), f"the shape is {tuple(got.shape)}; expected (1, 2, 2)"
    assert torch.allclose(got, S), "at θ = 0 the covariance must not change"
    quarter = turned_covariance(S, 90)
    assert torch.allclose(quarter[0].diagonal(), S[0].diagonal().flip(0)), (
        "a quarter turn swaps the two variances; are your angles in degrees?")

# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
""" # END TEST CONFIG
def test_direction_of_the_turn(turned_covariance):
    import torch
    S = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64)).unsqueeze(0)
    got = turned_covariance(S, 30)[0]
    assert torch.allclose(got, got.mT), "a covariance is symmetric; yours is not"
    assert torch.allclose(got.trace(), torch.tensor(5.0, dtype=torch.float64)), (
        "a rotation keeps the trace; multiply by R on the left and by its transpose on the right")
    assert got[0, 1] > 0, (
        "the off-diagonal entry has the wrong sign: R Σ Rᵀ was asked for, not Rᵀ Σ R")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [markdown]
# ## Question 2: the best diagonal covariance (3 points)
#
# For a Gaussian posterior with precision $P$ (B, d, d), which **diagonal** Σ minimises
# $\operatorname{KL}(\mathcal N(0, \Sigma)\,\|\,\mathcal N(0, P^{-1}))$? Derive it: write the divergence as a
# function of the variances $\sigma_1^2, \dots, \sigma_d^2$ and set the derivatives to zero. Return
# the variances, shape (B, d).

# %% [raw]
# # BEGIN SOLUTION


# %%
def best_variances(P):
    """Variances (B, d) of the best diagonal Gaussian for precisions P (B, d, d)."""
    # BEGIN SOLUTION
    return 1 / P.diagonal(dim1=-2, dim2=-1)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_diagonal_precision(best_variances):
    import torch
    P = torch.diag(torch.tensor([2.0, 5.0, 10.0], dtype=torch.float64)).unsqueeze(0)
    got = best_variances(P)
    assert got.shape == (1, 3), f"the shape is {tuple(got.shape)}; expected (1, 3): variances only"
    assert torch.allclose(got[0], torch.tensor([0.5, 0.2, 0.1], dtype=torch.float64)), (
        "for a diagonal P the best Σ is its inverse")

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_correlated_precision(best_variances):
    import torch
    P = torch.tensor([[[3.0, 1.2, 0.3], [1.2, 2.0, -0.4], [0.3, -0.4, 1.5]]], dtype=torch.float64)
    got = best_variances(P)
    marginal = torch.linalg.inv(P).diagonal(dim1=-2, dim2=-1)
    assert not torch.allclose(got, marginal), (
        "these are the diagonal entries of the inverse of P, the marginal variances. The divergence "
        "KL(q‖p) with q in front asks for another choice: differentiate it")
    assert torch.allclose(got, 1 / P.diagonal(dim1=-2, dim2=-1)), (
        "not the minimiser: with S = diag(s), 2·KL = Σ sᵢPᵢᵢ − Σ log sᵢ + terms without s")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: what mean field pays (4 points)
#
# A linear decoder with metric $G$ (2, 2) is turned by θ: in the new coordinates the metric is
# $R G R^\top$. Write `mean_field_cost(G, beta, theta)`: by how many nats the β-VAE's loss with the
# best diagonal covariance exceeds the loss with the best full one. Use
# $\text{cost} = \frac\beta2\bigl(\sum_i \log P_{ii} - \log|P|\bigr)$.

# %% [raw]
# # BEGIN SOLUTION


# %%
def mean_field_cost(G, beta, theta):
    """Cost in nats, a number or a tensor without dimensions, for a metric G (2, 2)."""
    # BEGIN SOLUTION
    turned = rotations.turned_metric(G, rotations.plane_rotation(theta)).unsqueeze(0)
    P = geometry.posterior_precision(turned, beta)
    return (beta / 2 * (P.diagonal(dim1=-2, dim2=-1).log().sum(-1) - torch.logdet(P)))[0]
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_zero_where_it_must_be(mean_field_cost):
    import torch
    G = torch.diag(torch.tensor([1600.0, 100.0], dtype=torch.float64))
    assert abs(float(mean_field_cost(G, 1.0, 0))) < 1e-9, "orthogonal columns cost nothing at θ = 0"
    assert abs(float(mean_field_cost(G, 1.0, 90))) < 1e-9, "nor at a quarter turn"
    same = torch.eye(2, dtype=torch.float64) * 7
    assert abs(float(mean_field_cost(same, 1.0, 33))) < 1e-9, (
        "with equal norms the posterior is round, and no angle costs anything")

# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
""" # END TEST CONFIG
def test_closed_form_at_beta_one(mean_field_cost):
    import torch
    from grae_lib import rotations
    G = torch.diag(torch.tensor([1600.0, 100.0], dtype=torch.float64))
    for theta in (15, 30, 45):
        want = rotations.mean_field_gap(theta, 1600, 100)
        got = float(mean_field_cost(G, 1.0, theta))
        assert got > 0, f"at θ = {theta}° the cost is {got:.4f}; Hadamard's inequality makes it ≥ 0"
        assert abs(got - want) < 1e-8, (
            f"at β = 1, θ = {theta}° you give {got:.4f} nats, the closed form {want:.4f}; a ratio "
            "of 2 would be the missing ½")

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_closed_form_at_other_betas(mean_field_cost):
    import torch
    from grae_lib import rotations
    G = torch.diag(torch.tensor([4.0, 0.25], dtype=torch.float64))
    for beta in (0.1, 0.4, 3.0):
        want = rotations.mean_field_gap(30, 4, 0.25, beta)
        got = float(mean_field_cost(G, beta, 30))
        assert abs(got - want) < 1e-8, (
            f"at β = {beta} you give {got:.5f} nats, the closed form {want:.5f}; β enters twice, in "
            "front of the logarithms and in P = I + G/β")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 2

# %% [markdown]
# ## Question 4: Darmois and Skitovich in moments (2 points)
#
# Rotations keep independence only for Gaussian latents. Write `covariance_of_squares(z)`: turn the
# samples $z$ (N, 2) by 45° and return the sample covariance of $y_1^2$ and $y_2^2$ as a number. For
# independent latents of unit variance it tends to half their excess kurtosis.

# %% [raw]
# # BEGIN SOLUTION


# %%
def covariance_of_squares(z):
    """Sample covariance of y₁² and y₂² for y = R(45°) z, z (N, 2)."""
    # BEGIN SOLUTION
    y = z @ rotations.plane_rotation(45).T
    squares = y.square() - y.square().mean(0)
    return float((squares[:, 0] * squares[:, 1]).mean())
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_gaussian_latents(covariance_of_squares):
    import torch
    z = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got = float(covariance_of_squares(z))
    assert abs(got) < 0.05, f"for Gaussian latents you give {got:.3f}; expected about 0"

# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
""" # END TEST CONFIG
def test_uniform_latents(covariance_of_squares):
    import torch
    z = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    got = float(covariance_of_squares((z - 0.5) * 12**0.5))
    assert abs(got + 0.6) < 0.03, (
        f"for uniform latents you give {got:.3f}; half the excess kurtosis is −0.6. Were the "
        "samples turned by 45° before squaring?")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 6
# manual: true

# %% [markdown]
# ## Question 5: in words (6 points, read by a person)
#
# A colleague writes: "Mean field makes the optimum unique, so a β-VAE finds the factors that made
# the data." In at most 200 words: say what uniqueness means here, what it does not give, and name
# one computation of this notebook or of the chapter that a sceptic could run.

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# Unique means: among the models that the likelihood cannot tell apart, those turned out of the
# family's axes have a strictly larger loss, up to order and sign of the latents. The axes that win
# are those in which the average curvature of the distortion is diagonal; nothing says that they are
# the generating ones, and in the tanh toy they are about 15° away. A sceptic runs the toy with
# eight seeds, turns each solution until its Σ is diagonal, and compares the angle with that of W.

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION
