#!/usr/bin/env bash
# torch 2.13.0: torch.matmul takes another way, and may give other bits, when its 2-D factor requires a gradient.
#
# A good guess is that `requires_grad` decides what is recorded, not what is computed, and that torch.no_grad() makes the
# question go away. For a matrix times a batch of matrices neither holds: a factor that requires a gradient is multiplied
# as one long product (mm), any other one by one (bmm), also within no_grad. Where the kernels of the two add up in
# another order (seen in float32 on a CPU with AVX-512: 2 x 4 times 4 x 8) a parameter answers otherwise than a copy of
# it, so that what was trained is not to the bit what is loaded. Products of two matrices are the same in both cases.
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
from torch.utils._python_dispatch import TorchDispatchMode

torch.manual_seed(0)
torch.set_num_threads(1)


class Used(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket._qualified_op_name in ("aten::mm", "aten::bmm"):
            used.append(function.overloadpacket._qualified_op_name)
        return function(*args, **(kwargs or {}))


def product(left, right, context):
    used.clear()
    with context, Used():
        result = torch.matmul(left, right)
    return result.detach(), *used


used, seen = [], []
plain, batch = torch.randn(2, 4), torch.randn(50, 4, 8)
parameter = torch.nn.Parameter(plain.clone())
cases = (("a tensor", plain, torch.enable_grad()), ("a parameter", parameter, torch.enable_grad()),
         ("a parameter in no_grad", parameter, torch.no_grad()))
for name, left, context in cases:
    result, way = product(left, batch, context)
    seen.append(way)
    first = result if name == "a tensor" else first
    print(f"torch {torch.__version__}: {name} [2, 4] @ [50, 4, 8] by {way}, "
          f"{(result - first).abs().max().item():.1e} from the tensor's answer")
if seen != ["aten::bmm", "aten::mm", "aten::mm"]:
    print("changed")
    sys.exit(1)
PYTHON
