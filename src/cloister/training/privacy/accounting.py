"""How much privacy a number of steps costs, by dp-accounting.

One accountant, privacy loss distributions (Koskela et al., 2020), and one grid, which errs on the
safe side: every figure here is an upper bound. The sum over several trainings is their composition,
tighter than adding epsilons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloister.errors import ConfigError, MissingExtraError, extra_hint
from cloister.training.privacy.parameters import LEAST_NOISE, MOST_NOISE, PrivacyParameters

__all__ = ["INTERVAL", "Mechanism", "epsilon_of", "mechanism_of", "steps_within"]

INTERVAL: Final = 1e-3  # of the grid of privacy losses; a tenth costs ten times as long
_TOLERANCE: Final = 1e-3
_MOST_EPSILON: Final = 200  # by the rougher accountant, which is quick whatever it is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """Steps of the Poisson-sampled Gaussian mechanism that have one noise.

    Args:
        examples: How many examples the data has.
        batch: How many take part on average.
        clip: The norm that no example's part exceeds.
        noise_multiplier: Standard deviation of the noise on the sum, in units of `clip`.
        steps: How many.
    """

    examples: int
    batch: int
    clip: float
    noise_multiplier: float
    steps: int


def epsilon_of(mechanisms: Sequence[Mechanism], *, delta: float) -> float:
    """Return the epsilon of all these on the same data, add-or-remove-one.

    Raises:
        ConfigError: `config.value`: it has no bound that could be computed.
        MissingExtraError: dp-accounting is not installed.
    """
    done = [each for each in mechanisms if each.steps]
    if not done:
        return 0.0
    accounting = _library()
    _require_bounded(accounting, done, delta=delta)
    accountant = accounting.pld.PLDAccountant(
        accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=INTERVAL
    )
    for each in done:
        accountant.compose(_event(accounting, each))
    epsilon = float(accountant.get_epsilon(delta))
    if not math.isfinite(epsilon):
        raise _unbounded()
    return epsilon


def mechanism_of(parameters: PrivacyParameters, earlier: Sequence[Mechanism] = ()) -> Mechanism:
    """Return what the plan does if it is carried out: its noise is the least that keeps epsilon.

    Args:
        parameters: The plan.
        earlier: What was done with the same data before, and counts towards epsilon.

    Raises:
        ConfigError: `config.value`: no noise keeps that epsilon.
        MissingExtraError: dp-accounting is not installed.
    """
    noise = parameters.noise_multiplier
    if parameters.epsilon is not None:
        noise = _calibrated(parameters, parameters.epsilon, earlier)
    planned = _planned(parameters, float(noise or 0), parameters.steps)
    epsilon_of([*earlier, planned], delta=parameters.delta)
    return planned


def steps_within(
    mechanism: Mechanism, earlier: Sequence[Mechanism], *, epsilon: float, delta: float
) -> int:
    """Return how many of `mechanism.steps` steps cost at most `epsilon`, with what was before."""
    least, most = 0, mechanism.steps

    def costs(steps: int) -> float:
        part = Mechanism(
            examples=mechanism.examples,
            batch=mechanism.batch,
            clip=mechanism.clip,
            noise_multiplier=mechanism.noise_multiplier,
            steps=steps,
        )
        return epsilon_of([*earlier, part], delta=delta)

    while least < most:
        middle = (least + most + 1) // 2
        if costs(middle) <= epsilon:
            least = middle
        else:
            most = middle - 1
    return least


def _calibrated(
    parameters: PrivacyParameters, epsilon: float, earlier: Sequence[Mechanism]
) -> float:
    def costs(noise: float) -> float:
        try:
            planned = _planned(parameters, noise, parameters.steps)
            return epsilon_of([*earlier, planned], delta=parameters.delta)
        except ConfigError:
            return math.inf

    # Doubling from above keeps every distribution that is computed a small one.
    low, high = 1.0, 1.0
    while costs(high) > epsilon:
        low, high = high, high * 2
        if high > MOST_NOISE:
            raise ConfigError(
                f"no noise keeps epsilon {epsilon:g} in {parameters.steps} steps",
                code="config.value",
                hint="fewer epochs, a smaller batch, or a larger epsilon",
            )
    while low >= LEAST_NOISE and low == high:
        low = high / 2
        if costs(low) <= epsilon:
            high = low
    low = max(low, LEAST_NOISE)
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        if costs(middle) <= epsilon:
            high = middle
        else:
            low = middle
    return high


def _planned(parameters: PrivacyParameters, noise: float, steps: int) -> Mechanism:
    return Mechanism(
        examples=parameters.examples,
        batch=parameters.batch,
        clip=float(parameters.clip),
        noise_multiplier=noise,
        steps=steps,
    )


def _require_bounded(accounting: Any, done: Sequence[Mechanism], *, delta: float) -> None:
    """Refuse, in little time and memory, what the exact accountant's tables have no room for."""
    rough = accounting.rdp.RdpAccountant()
    for each in done:
        rough.compose(_event(accounting, each))
    if not rough.get_epsilon(delta) <= _MOST_EPSILON:
        raise _unbounded()


def _unbounded() -> ConfigError:
    return ConfigError(
        "so little noise gives no bound on epsilon that means anything",
        code="config.value",
        hint="a larger noise_multiplier, or fewer epochs",
    )


def _event(accounting: Any, mechanism: Mechanism) -> Any:
    gaussian = accounting.GaussianDpEvent(mechanism.noise_multiplier)
    rate = mechanism.batch / mechanism.examples
    sampled = accounting.PoissonSampledDpEvent(rate, gaussian)
    return accounting.SelfComposedDpEvent(sampled, mechanism.steps)


def _library() -> Any:
    try:
        import dp_accounting  # noqa: PLC0415  # optional, and loads SciPy
        import dp_accounting.pld  # noqa: PLC0415  # the same
        import dp_accounting.rdp  # noqa: PLC0415  # the same
    except ImportError as e:
        raise MissingExtraError(
            "accounting for privacy needs dp-accounting",
            code="extra.missing",
            hint=extra_hint("privacy"),
        ) from e
    return dp_accounting
