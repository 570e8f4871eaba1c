"""Solvers of the flow from noise to a clean latent, one file each; `SOLVERS` is the table a user chooses from."""

from .dpmpp_2m import DPMSolverMultistep
from .dpmpp_sde import DPMSolverStochastic
from .euler import Euler
from .heun import Heun
from .lcm import LatentConsistency
from .solver import Solver, SolverRun
from .unipc import UniPC

SOLVERS: dict[str, Solver] = {
    "unipc": UniPC,
    "euler": Euler,
    "heun": Heun,
    "dpmpp_2m": DPMSolverMultistep,
    "dpmpp_sde": DPMSolverStochastic,
    "lcm": LatentConsistency,
}

__all__ = ["SOLVERS", "Solver", "SolverRun"]
