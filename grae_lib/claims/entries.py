"""The ledger: each claim of the sources and of this book, what would refute it, and its evidence.

The order is that of the sources: the slides of the talk, the two abstracts, then our own claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..results import STORE
from . import evidence as ev
from .evidence import Evidence, Observation

TALK = "Kumar & Poole 2020, slide"
ABSTRACT_KP = "Kumar & Poole 2020, abstract"
ABSTRACT_BE = "Bozkurt, Esmaeili et al. 2021, abstract"
OURS = "this book"

VERDICTS = ("reproduced", "partly", "not reproduced", "untested here")


@dataclass(frozen=True)
class Claim:
    """One statement and all that is needed to judge it.

    chapter: page of the book without its suffix, section: heading there (both link to the text that
    derives or shows it). experiments: names of the stored experiments that it reads.
    """

    id: str
    statement: str
    source: str
    refuted_by: str
    evidence: Evidence
    chapter: str
    section: str
    experiments: tuple[str, ...] = ()

    @property
    def measured_by(self) -> str:
        """How it is measured: the first paragraph of the evidence's own description."""
        text = (self.evidence.__doc__ or "").split("\n\n")[0]
        return " ".join(text.split())

    def judge(self, root: Path = STORE) -> Judgement:
        """Measure, and apply the rule."""
        found = self.evidence(root)
        return Judgement(self, tuple(found), verdict(found))


@dataclass(frozen=True)
class Judgement:
    """A claim with its observations and the verdict that follows from them."""

    claim: Claim
    observations: tuple[Observation, ...]
    verdict: str


def verdict(observations: Sequence[Observation]) -> str:
    """The rule. Observations without stored results are left out of the first three lines.

    - *untested here*: no observation could be made;
    - *reproduced*: every observation was made and meets its bound;
    - *not reproduced*: none that was made does;
    - *partly*: all else.
    """
    made = [o.holds for o in observations if o.holds is not None]
    if not made:
        return "untested here"
    if all(made) and len(made) == len(observations):
        return "reproduced"
    return "partly" if any(made) else "not reproduced"


_RD = ev.RD
_TOY = ("toy-uniqueness",)
_OBJECTIVES = ("mnist-objectives",)
_STRUCTURE = ("mnist-structure",)
_SAMPLES = ("mnist-samples",)


def _slide(title: str) -> str:
    return f"{TALK} ‘{title}’"


CLAIMS: tuple[Claim, ...] = (
    # --- the talk, slide by slide
    Claim(
        "objective",
        "The β-VAE maximises the expected log-likelihood under q less β times the divergence of q "
        "from the prior; at β = 1 that is log p(x) less KL(q ‖ p(z|x)).",
        _slide("β-VAE"),
        "A model with a known marginal for which the two differ.",
        ev.objective_is_bound,
        "uniqueness",
        "When the posterior is in the family",
    ),
    Claim(
        "marginal-invariant",
        "Transforms of the latents that keep the prior give models with the same marginal "
        "likelihood.",
        _slide("Latent variable models and Uniqueness"),
        "A prior-preserving transform that changes log p(x).",
        ev.marginal_invariant,
        "uniqueness",
        "What the likelihood cannot see",
    ),
    Claim(
        "inside-family",
        "If the posterior is in the family and the turned posterior is not, the best ELBO of the "
        "turned model is lower.",
        _slide("Uniqueness via variational family"),
        "A turned model outside the family with the same best ELBO.",
        ev.inside_family,
        "uniqueness",
        "When the posterior is in the family",
    ),
    Claim(
        "orthogonal-invariant",
        "Orthogonal transforms of the latents leave the marginal unchanged under an isotropic "
        "Gaussian prior.",
        _slide("Example: Isotropic Gaussian prior and orthogonal transforms"),
        "An orthogonal matrix that changes log p(x).",
        ev.orthogonal_invariant,
        "uniqueness",
        "What the likelihood cannot see",
    ),
    Claim(
        "mean-field-kept",
        "A mean-field posterior stays mean field under an orthogonal transform if and only if it "
        "is Gaussian with equal variances.",
        _slide("Example: Isotropic Gaussian prior and orthogonal transforms"),
        "A product of other laws that stays independent when turned, or an isotropic Gaussian that "
        "does not.",
        ev.mean_field_kept,
        "uniqueness",
        "Mean field and rotations: the Gaussian case",
    ),
    Claim(
        "non-gaussian-unique",
        "Models with non-Gaussian factorised posteriors have no non-uniqueness under orthogonal "
        "transforms.",
        _slide("Example: Isotropic Gaussian prior and orthogonal transforms"),
        "A product with a non-Gaussian factor that some rotation leaves a product.",
        ev.non_gaussian,
        "uniqueness",
        "Non-Gaussian posteriors: the theorem of Darmois and Skitovich",
    ),
    Claim(
        "two-conditions",
        "If q ∈ Q implies r#q ∉ Q, and the ELBO has one maximiser over the completed family, "
        "transforming the latents reduces the objective.",
        _slide("Uniqueness via variational family (when p(z|x) ∉ Q)"),
        "A model that meets both conditions and loses nothing when turned; or no family of the "
        "talk's own example that meets them as stated.",
        ev.two_conditions,
        "uniqueness",
        "Where each condition fails",
    ),
    Claim(
        "convex-completion",
        "The second condition holds when the completed family is convex.",
        _slide("Uniqueness via variational family (when p(z|x) ∉ Q)"),
        "A convex family with two maximisers; or that the families in use have no convex "
        "completion, so that the condition says nothing about them.",
        ev.convex_completion,
        "uniqueness",
        "The two conditions, examined",
    ),
    Claim(
        "toy-unique",
        "In the toy model x = ν(Wz) + ε with the posterior outside the family, a diagonal Σ gives "
        "a unique rotation of the latents, and a full Σ does not.",
        _slide("Uniqueness via variational family: generative model of data"),
        "Seeds that end at different rotations with diagonal Σ, or at one with full Σ.",
        ev.toy_unique,
        "uniqueness",
        "Trained by stochastic gradients, eight seeds",
        _TOY,
    ),
    Claim(
        "taylor",
        "Near the encoder's mean log p(x|z) is approximated by its second-order Taylor polynomial.",
        _slide("Regularization: local geometry (Taylor approximation)"),
        "An error of the expectation that does not vanish with β, or one of several percent of the "
        "loss on trained models.",
        ev.taylor_order,
        "local_geometry",
        "The expansion around the encoder's mean",
        _OBJECTIVES,
    ),
    Claim(
        "taylor-expectation",
        "In expectation under q the Taylor approximation is log p(x|h) + ½ tr(HΣ) − β KL.",
        _slide("Regularization: local geometry (taking expectation)"),
        "A quadratic log-likelihood and a q for which the two differ.",
        ev.expectation_of_quadratic,
        "local_geometry",
        "The expansion around the encoder's mean",
    ),
    Claim(
        "gauss-newton",
        "The Hessian is approximately Jᵀ H_p J, and exactly so for ReLU and leaky-ReLU decoders.",
        _slide("Regularization: local geometry (in terms of the Jacobian of the decoder)"),
        "A ReLU decoder and a code, off its kinks, where the two Hessians differ.",
        ev.gauss_newton,
        "local_geometry",
        "What 'exact for ReLU' means",
    ),
    Claim(
        "precision-diagonal",
        "H_p is diagonal for pixel-wise independent models.",
        _slide("Regularization: local geometry (diagonal for pixel-wise independent models)"),
        "An off-diagonal entry of H_p for such a likelihood.",
        ev.precision_diagonal,
        "local_geometry",
        "The likelihood enters through $H_p$",
    ),
    Claim(
        "frobenius",
        "The objective minimises ‖[−H_p]^½ J Σ^−½‖²_F.",
        _slide("Regularization: local geometry (minimizes a Frobenius norm)"),
        "That norm differs from the trace in the objective.",
        ev.frobenius,
        "local_geometry",
        "What is being minimised",
    ),
    Claim(
        "optimal-covariance",
        "For Gaussian prior and posterior the optimal covariance is (I − Jᵀ H_p J / β)⁻¹.",
        _slide("Gaussian p(z) and q(z|x)"),
        "A Σ with a lower value; or trained covariances that stay far from it.",
        ev.optimal_covariance,
        "gaussian_case",
        "Does training find it?",
        _STRUCTURE,
    ),
    Claim(
        "hessian-minus-identity",
        "H_p = −I for the Gaussian likelihood and ≈ −I for the Bernoulli one.",
        _slide("Gaussian p(z) and q(z|x)"),
        "Pixels of ordinary value at which the Bernoulli H_p is far from −1.",
        ev.hessian_minus_identity,
        "local_geometry",
        "The likelihood enters through $H_p$",
    ),
    Claim(
        "structure-influence",
        "A structure on Σ influences the Jacobian of the decoder.",
        _slide("Gaussian p(z) and q(z|x)"),
        "Columns of J as far from orthogonal under a restricted family as under the full one.",
        ev.structure_influence,
        "gaussian_case",
        "A structure on Σ influences the decoder",
        _STRUCTURE,
    ),
    Claim(
        "structure-mnist",
        "On MNIST, with Σ in blocks of two, at (β, d, b) = (.2, 8, 2), (.4, 8, 2), (.6, 12, 2) and "
        "(1, 8, 2), columns of J are correlated inside blocks and nearly orthogonal across them.",
        _slide("MNIST"),
        "A setting whose cosines are no larger inside blocks than across, or not small across.",
        ev.structure,
        "gaussian_case",
        "A structure on Σ influences the decoder",
        _STRUCTURE,
    ),
    Claim(
        "grae-approximates",
        "For Gaussian prior, posterior and likelihood the β-VAE objective approximates to GRAE.",
        _slide("Gaussian p(z), q(z|x), p(x|z)"),
        "Trained β-VAEs whose loss differs from the deterministic form by several percent.",
        ev.implicit_regulariser,
        "grae",
        "Where the approximation leaves the truth",
        _OBJECTIVES,
    ),
    Claim(
        "hadamard",
        "The sum of log(1 + ‖J_i‖²/β) over columns is an upper bound of log|I + JᵀJ/β|.",
        _slide("Gaussian p(z), q(z|x), p(x|z): upper bound"),
        "A Jacobian for which the sum is smaller.",
        ev.hadamard,
        "grae",
        "The bound, and one column at a time",
        _OBJECTIVES,
    ),
    Claim(
        "one-column",
        "The bound can be minimised by a stochastic approximation that samples one column of J per "
        "iteration.",
        _slide("Gaussian p(z), q(z|x), p(x|z): upper bound"),
        "A biased estimate, or models that end elsewhere than with all columns.",
        ev.one_column,
        "grae",
        "The bound, and one column at a time",
        _OBJECTIVES,
    ),
    Claim(
        "comparison",
        "Trained with GRAE ≈ (one column), models reach the β-VAE's objective value over the β "
        "shown.",
        _slide("Comparison of objectives"),
        "A β of the figure with a difference of more than three percent.",
        ev.comparison,
        "grae",
        "Over β: twenty-seven models of each kind",
        _OBJECTIVES,
    ),
    Claim(
        "samples-small-beta",
        "At β = .02, .06 and .1 samples of GRAE ≈ are like the β-VAE's.",
        _slide("Samples (β = .02, .06, .1)"),
        "Samples farther from the training digits than the β-VAE's by more than a quarter.",
        ev.samples_small_beta,
        "grae",
        "Measured",
        _SAMPLES,
    ),
    Claim(
        "samples-large-beta",
        "At β = .4, .6 and .8 samples of GRAE ≈ are like the β-VAE's.",
        _slide("Samples (β = .4, .6, .8)"),
        "Samples farther from the training digits than the β-VAE's by more than a quarter.",
        ev.samples_large_beta,
        "grae",
        "Measured",
        _SAMPLES,
    ),
    # --- first abstract
    Claim(
        "abstract-uniqueness",
        "The choice of the variational family imparts uniqueness to the learned model by "
        "restricting the set of optimal generative models.",
        ABSTRACT_KP,
        "Families that leave the rotation of the latents equally open.",
        ev.toy_choice,
        "uniqueness",
        "Trained by stochastic gradients, eight seeds",
        _TOY,
    ),
    Claim(
        "abstract-geometry",
        "The variational family regularises the local geometry of the decoding model.",
        ABSTRACT_KP,
        "Decoders whose Jacobians do not depend on the family.",
        ev.structure_influence,
        "gaussian_case",
        "A structure on Σ influences the decoder",
        _STRUCTURE,
    ),
    Claim(
        "abstract-regulariser",
        "The β-VAE objective is approximated by a deterministic autoencoding objective plus "
        "analytic regularisers that depend on the Hessian or Jacobian of the decoder.",
        ABSTRACT_KP,
        "Trained β-VAEs whose loss differs from the deterministic form by several percent.",
        ev.implicit_regulariser,
        "grae",
        "Where the approximation leaves the truth",
        _OBJECTIVES,
    ),
    Claim(
        "abstract-unifies",
        "The analysis unifies VAEs with heuristics for training regularised autoencoders.",
        ABSTRACT_KP,
        "A limit of β in which the regulariser is none of theirs.",
        ev.regularised_autoencoders,
        "grae",
        "Relatives",
    ),
    Claim(
        "abstract-value",
        "The deterministic objective behaves like the β-VAE in terms of objective value.",
        ABSTRACT_KP,
        "A β at which the values differ by more than three percent upwards or five downwards.",
        ev.objective_value,
        "grae",
        "Over β: twenty-seven models of each kind",
        _OBJECTIVES,
    ),
    Claim(
        "abstract-samples",
        "The deterministic objective behaves like the β-VAE in terms of sample quality.",
        ABSTRACT_KP,
        "A β at which its samples are farther from the training digits by more than a quarter.",
        ev.samples_all_beta,
        "grae",
        "Measured",
        _SAMPLES,
    ),
    # --- second abstract
    Claim(
        "rate-bounds-information",
        "The rate is an upper bound on the mutual information of data and code.",
        ABSTRACT_BE,
        "A model whose mutual information exceeds its rate by more than the estimate's error.",
        ev.rate_bounds_information,
        "rate_distortion",
        "The rate has two parts",
        _RD,
    ),
    Claim(
        "controlled",
        "The analysis controls the strength of the rate, the capacity of the network and the "
        "difficulty of the generalisation problem.",
        ABSTRACT_BE,
        "A factor that is not varied.",
        ev.controlled,
        "rate_distortion",
        "The sweep",
        _RD,
    ),
    Claim(
        "lower-rate-generalises",
        "Lowering the strength of the rate term improves generalisation in most settings.",
        ABSTRACT_BE,
        "Half of the runs or more with a higher test distortion, a higher test −ELBO or a "
        "wider gap at the smallest β than at 1.",
        ev.lower_rate_generalises,
        "rate_distortion",
        "Does lowering β help?",
        _RD,
    ),
    Claim(
        "less-information-underfits",
        "Reducing the mutual information typically leads to underfitting.",
        ABSTRACT_BE,
        "Training distortion that does not rise as the mutual information falls, in half of the "
        "runs or more.",
        ev.less_information_underfits,
        "rate_distortion",
        "After the information has saturated",
        _RD,
    ),
    Claim(
        "after-saturation",
        "Generalisation continues to improve after the mutual information saturates, so that the "
        "gap of the bound, KL(q(z) ‖ p(z)), affects it.",
        ABSTRACT_BE,
        "Test distortion or −ELBO that does not fall any more once the mutual information is "
        "within one percent of its maximum, in half of the runs or more.",
        ev.after_saturation,
        "rate_distortion",
        "After the information has saturated",
        _RD,
    ),
    Claim(
        "prior-no-bias",
        "The standard spherical Gaussian prior is not an inductive bias that typically improves "
        "generalisation.",
        ABSTRACT_BE,
        "A best test distortion, or a best test −ELBO, at β ≥ 1 in half of the runs or more. "
        "(The prior enters by its weight β only: no other prior was trained.)",
        ev.prior_no_bias,
        "rate_distortion",
        "The best β, by each reading",
        _RD,
    ),
    # --- ours
    Claim(
        "unique-not-true",
        "The rotation that mean field singles out need not be that of the generating model.",
        OURS,
        "Curved ν whose rotation is that of W.",
        ev.unique_not_true,
        "uniqueness",
        "Unique, and yet not the true axes",
        _TOY,
    ),
    Claim(
        "curved-chooses",
        "With columns of equal norm mean field chooses no rotation for a linear ν, and does for "
        "softplus and leaky ReLU.",
        OURS,
        "Scattered seeds for a curved ν, or agreeing ones for the linear.",
        ev.curved_chooses,
        "uniqueness",
        "Trained by stochastic gradients, eight seeds",
        _TOY,
    ),
    Claim(
        "aligned-agree",
        "Runs with one full Σ, turned until Σ is diagonal, are the runs with diagonal Σ.",
        OURS,
        "A different rotation of the two.",
        ev.aligned_agree,
        "uniqueness",
        "Trained by stochastic gradients, eight seeds",
        _TOY,
    ),
    Claim(
        "mean-field-free",
        "With one Σ for all x mean field costs nothing: it only breaks a tie.",
        OURS,
        "A lower best ELBO of the diagonal family.",
        ev.mean_field_free,
        "uniqueness",
        "The toy model",
        _TOY,
    ),
    Claim(
        "relu-expectation",
        "For ReLU decoders Gauss–Newton is exact at a point and not in expectation: averaged over "
        "a kink the error is −σ³/(3√2π).",
        OURS,
        "Another coefficient.",
        ev.relu_expectation,
        "local_geometry",
        "What 'exact for ReLU' means",
    ),
    Claim(
        "structure-controls",
        "For diagonal and full Σ the same pairs of columns are not special.",
        OURS,
        "A ratio of cosines inside to across far from one.",
        ev.structure_controls,
        "gaussian_case",
        "A structure on Σ influences the decoder",
        _STRUCTURE,
    ),
    Claim(
        "volume",
        "GRAE's regulariser is β times the log volume element of the graph of g/√β.",
        OURS,
        "A stored decoder for which they differ.",
        ev.volume,
        "gaussian_case",
        "The metric of the learned manifold",
        _STRUCTURE,
    ),
    Claim(
        "below-the-vae",
        "From β = .2 to .6 GRAE's solutions have a lower β-VAE objective than the β-VAE trained "
        "for as many steps.",
        OURS,
        "A seed and form with a higher value.",
        ev.below_the_vae,
        "grae",
        "Over β: twenty-seven models of each kind",
        _OBJECTIVES,
    ),
    Claim(
        "deceived",
        "At β = 2 GRAE is deceived: it makes J small at the codes, the decoder bends between them, "
        "and the β-VAE objective of its solutions is far higher.",
        OURS,
        "A value near the β-VAE's, a small curvature, or a Jacobian as large as the β-VAE's.",
        ev.deceived,
        "grae",
        "Over β: twenty-seven models of each kind",
        _OBJECTIVES,
    ),
    Claim(
        "linear-minimum",
        "With a linear decoder both forms of GRAE have the minimum of probabilistic PCA, "
        "(β/2) Σ (1 + log(λ/β)) + ½ Σ λ of the rest.",
        OURS,
        "A value below it, or a gradient at the closed-form decoder.",
        ev.linear_minimum,
        "linear_case",
        "The best decoder",
    ),
    Claim(
        "rate-decomposition",
        "The rate is the mutual information plus the divergence of the aggregate posterior from "
        "the prior.",
        OURS,
        "An encoder for which they differ.",
        ev.rate_decomposition,
        "rate_distortion",
        "The rate has two parts",
    ),
)

BY_ID = {claim.id: claim for claim in CLAIMS}
if len(BY_ID) != len(CLAIMS):
    raise ValueError("two claims have the same id; rename one in grae_lib/claims/entries.py.")


def get(claim_id: str) -> Claim:
    """The claim of that id; raises ValueError listing the ids there are."""
    if claim_id not in BY_ID:
        raise ValueError(f"there is no claim {claim_id!r}; the ids are {', '.join(BY_ID)}.")
    return BY_ID[claim_id]


def judge_all(root: Path = STORE) -> list[Judgement]:
    """Every claim, judged; equal evidence is measured once."""
    measured: dict[Evidence, list[Observation]] = {}
    for claim in CLAIMS:
        if claim.evidence not in measured:
            measured[claim.evidence] = claim.evidence(root)
    return [
        Judgement(claim, tuple(measured[claim.evidence]), verdict(measured[claim.evidence]))
        for claim in CLAIMS
    ]
