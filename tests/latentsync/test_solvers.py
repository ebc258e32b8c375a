"""DPM-Solver++ against diffusers', and against an equation whose solution is known."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from latentsync.scheduler import PredictionType, SchedulerConfig, Solver, TimestepSpacing, timesteps
from latentsync.solvers import alphas_cumprod, begin_steps


@pytest.mark.parametrize("prediction", list(PredictionType))
@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_dpm_steps_match_diffusers(prediction: PredictionType, to_one: bool, steps: int) -> None:
    config = SchedulerConfig(
        prediction_type=prediction, timestep_spacing=TimestepSpacing.TRAILING, set_alpha_to_one=to_one
    )
    theirs = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", algorithm_type="dpmsolver++",
        solver_order=2, solver_type="midpoint", lower_order_final=True, prediction_type=prediction.value,
        timestep_spacing="trailing", final_sigmas_type="zero" if to_one else "sigma_min",
    )  # fmt: skip
    theirs.config.euler_at_final = True  # the last step is of first order however many there are
    theirs.set_timesteps(steps)
    assert timesteps(config, steps) == theirs.timesteps.tolist()
    step = begin_steps(Solver.DPM, config, steps)
    generator = torch.Generator().manual_seed(0)
    ours = expected = torch.randn(1, 4, 2, 4, 4, generator=generator)
    for timestep in timesteps(config, steps):
        output = torch.randn(ours.shape, generator=generator)
        ours = step(ours, output, timestep)
        expected = theirs.step(output, timestep, expected).prev_sample
    torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-4)


def test_dpm_needs_fewer_steps_than_ddim_for_normal_data() -> None:
    # Of normal data with a deviation of 0.5 the best prediction of the noise is known, and so is the way.
    config = SchedulerConfig(timestep_spacing=TimestepSpacing.TRAILING)
    alphas = alphas_cumprod(config)

    def noise_of(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        alpha = alphas[timestep]
        return (1 - alpha).sqrt() * latents / (alpha * 0.25 + 1 - alpha)

    def run(solver: Solver, steps: int) -> torch.Tensor:
        step, latents = begin_steps(solver, config, steps), start
        for timestep in timesteps(config, steps):
            latents = step(latents, noise_of(latents, timestep), timestep)
        return latents

    start = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    exact = run(Solver.DDIM, 1000)
    errors = {solver: float((run(solver, 10) - exact).abs().mean()) for solver in Solver}
    assert errors[Solver.DPM] < errors[Solver.DDIM]
