#!/usr/bin/env bash
# torch 2.13.0: a TorchFunctionMode that is on around forward and backward sees nothing of what backward runs.
#
# A good guess: such a mode sees every function that Python calls in between, so also those of a checkpointed block, which
# is run again in the backward pass; a TorchDispatchMode does see them. But Tensor.backward, torch.autograd.backward and
# torch.autograd.grad are functions that the mode is asked about like any other, and while a mode answers it is off: what
# they call (blocks run again, hooks) passes unseen, with use_reentrant as without. A counter of operations, or a patch of
# attention, by a mode is right in the forward pass and absent in the other one. Entering the mode again in its answer to
# "backward" asks it about the same call once more, without end.
#
# Exits with 1 when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

print("torch", torch.__version__.split("+")[0])
weight = torch.eye(4, requires_grad=True)


class Functions(TorchFunctionMode):
    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function is linear
        return function(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket is torch.ops.aten.relu
        return function(*args, **(kwargs or {}))


def block(x):
    return linear(linear(x, weight).relu(), weight).square()


def counted(mode, backward, use_reentrant):
    x = torch.ones(2, 4, requires_grad=True)
    with mode:
        loss = checkpoint(block, x, use_reentrant=use_reentrant).sum()
        forward = mode.count
        backward(loss)
    return forward, mode.count - forward


seen = {}
for use_reentrant in (False, True):
    for name, backward in (("Tensor.backward", torch.Tensor.backward), ("autograd.backward", torch.autograd.backward)):
        for kind in (Functions, Operations):
            forward, again = counted(kind(), backward, use_reentrant)
            seen[name, kind, use_reentrant] = again / forward
            print(f"{name}, {kind.__name__}, use_reentrant={use_reentrant}: {forward} forward, {again} in backward")
as_before = all(share == (0 if kind is Functions else 1) for (_, kind, _), share in seen.items())
sys.exit(0 if as_before else "This has changed.")
PYTHON
