"""From noise to a clean latent: schedules, solvers, guidance and the sampling loop."""
