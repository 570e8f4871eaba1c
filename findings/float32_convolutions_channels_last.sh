#!/usr/bin/env bash
# torch 2.13.0 on a CPU with AVX-512: a float32 convolution is four times less exact with channels_last than without.
#
# A good guess is that a memory layout is a matter of speed: that `channels_last` gives the same sums in another order,
# as far from the exact ones as before. For 3 x 3 taps of 1,152 channels (a causal video VAE has 384 in three frames) it
# is 1.4e-6 of the result's length away, the usual layout 2.6e-7. oneDNN takes other kernels for it (brg_conv_fwd, not
# jit), which add all taps of a number one after the other; a decoder of forty of them is 1e-5 from another program's
# result, which looks like another formula. Asked for as conv3d of one frame in the usual layout, the same convolution is
# exact again, in about the same time. A processor without AVX-512 gets other kernels: nothing is told there.
#
# Exits with 1 when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.2

venv/bin/python - <<'PYTHON'
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
capability = torch.backends.cpu.get_cpu_capability()
print(f"torch {torch.__version__}, {capability}")
if not capability.startswith("AVX512"):
    print("not seen: this processor has no AVX-512")
    sys.exit(0)
pictures, kernel = torch.randn(1, 1152, 20, 12), torch.randn(384, 1152, 3, 3)
exact = F.conv2d(pictures.double(), kernel.double(), padding=1)


def error(found):
    return ((found - exact).norm() / exact.norm()).item()


last = {"memory_format": torch.channels_last}
usual = error(F.conv2d(pictures, kernel, padding=1))
channels_last = error(F.conv2d(pictures.contiguous(**last), kernel.contiguous(**last), padding=1))
as_3d = error(F.conv3d(pictures.unsqueeze(2), kernel.unsqueeze(2), padding=(0, 1, 1)).squeeze(2))
print(f"from float64, relative l2: usual layout {usual:.1e}, channels_last {channels_last:.1e}, as conv3d {as_3d:.1e}")
if not (usual < 5e-7 and as_3d < 5e-7 and channels_last > 9e-7):
    print("changed")
    sys.exit(1)
PYTHON
