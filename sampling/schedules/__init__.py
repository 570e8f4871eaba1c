"""The tables of noise levels that a user chooses from, by idea; `SCHEDULES` names them."""

from collections.abc import Callable

from .beta import beta
from .karras import karras, karras_native
from .native import ddim_uniform, exponential, kl_optimal, linear_quadratic, normal, sgm_uniform, simple
from .noise_schedule import NoiseSchedule
from .official import linear, official, official_dpm

SCHEDULES: dict[str, Callable[[int, float], NoiseSchedule]] = {
    "simple": simple,
    "linear": linear,
    "official": official,
    "official_dpm": official_dpm,
    "beta": beta,
    "normal": normal,
    "karras": karras,
    "karras_ratio": karras,  # its true name; the older one is that of native's `karras_native`
    "karras_native": karras_native,
    "sgm_uniform": sgm_uniform,
    "exponential": exponential,
    "ddim_uniform": ddim_uniform,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": kl_optimal,
}
