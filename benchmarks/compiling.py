"""What torch.compile gives for a transformer block on the CPU, and how often it would compile.

    python -m wan_director.benchmarks.compiling [REPEATS] [TOKENS ...]

Blocks of the 1.3B in bfloat16 with random weights, plain or in Q4_K. Each way is run in
turn with the others; process CPU-seconds of a block, median of the repeats. The ways:

- eager: as a run computes it.
- compiled: the same block as one graph, that writes nothing in place.
- rewritten: as compiled, with the two pieces that the compiler has no fast code for in other words: GELU by a sigmoid
  in place of a hyperbolic tangent, and the turns of the tokens in real numbers.
- unpacked (Q4_K): as rewritten, with matrices that are unpacked before the block by a compiled function.

Before them, how much faster an eager block would be without all that is neither a product of matrices nor attention,
which the compiler leaves as they are: the most that it could give. Then the pieces by themselves: the activation,
queries from norm to turn, and the unpacking of the largest matrix.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor, nn
from torch.profiler import profile
from wan_director.dit.block import Block
from wan_director.dit.block.attention import SelfAttention
from wan_director.dit.context import Context
from wan_director.dit.execution import Execution
from wan_director.dit.layers import RMSNorm
from wan_director.dit.presets import PRESETS
from wan_director.dit.rope import make_rope
from wan_director.weights import layers
from wan_director.weights.gguf import CODECS
from wan_director.weights.stored import StoredWeight

CONFIG = PRESETS["t2v-1.3B"]
TOKENS = (480, 960, 2340)
PIECE_TOKENS = 960
DTYPE = torch.bfloat16
ROW_OF_TOKENS = 20
LEFT_AS_THEY_ARE = ("aten::addmm", "aten::_scaled_dot_product_flash_attention_for_cpu")
IN_PLACE, FRESH = Execution(may_overwrite=True), Execution()


class SigmoidGelu(nn.Module):
    """GELU in its tanh form, written as y * sigmoid(2 u): the same function."""

    def forward(self, x: Tensor) -> Tensor:
        """[...] -> [...], computed in float32."""
        y = x.float()
        return (y * torch.sigmoid(1.5957691216057308 * (y + 0.044715 * y * y * y))).to(x.dtype)


class RealAttention(SelfAttention):
    """Self-attention whose `rope` is two real tensors as one, see `real_turns`."""

    def rotated(self, norm: RMSNorm, x: Tensor, rope: Tensor, execution: Execution, run: int = 0) -> Tensor:
        """See `SelfAttention.rotated`; nothing is overwritten."""
        heads = norm(x).unflatten(-1, (self.heads, -1))
        swapped = heads.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        return (heads * rope[0] + swapped * rope[1]).flatten(2).to(x.dtype)


def real_turns(rope: Tensor) -> Tensor:
    """Turns [1, L, 1, P] -> [2, L, 1, 2 P] float32: what a channel is multiplied by, and its neighbour."""
    own = rope.real.repeat_interleave(2, -1)
    other = torch.stack((-rope.imag, rope.imag), -1).flatten(-2)
    return torch.cat((own, other))


def rewritten(block: Block) -> Block:
    """A block of the same weights in words that compile well."""
    again = Block(CONFIG, nn).to(DTYPE)
    again.self_attn = RealAttention(CONFIG, nn).to(DTYPE)
    again.ffn[1] = SigmoidGelu()
    again.load_state_dict(block.state_dict())
    return again.requires_grad_(False)


def stored(block: Block) -> tuple[Block, Mapping[str, Tensor]]:
    """A block with random matrices in Q4_K, and the bytes of these by the name of the layer."""
    again, packed = Block(CONFIG, layers).to(DTYPE), {}
    again.load_state_dict(block.state_dict())
    for name, layer in again.named_modules():
        if isinstance(layer, layers.Linear):
            packed[name] = random_q4_k(*layer.weight.shape)
            layer.store(StoredWeight(CODECS["Q4_K"], {"weight": packed[name]}, tuple(layer.weight.shape)))
    return again.requires_grad_(False), packed


def random_q4_k(rows: int, columns: int) -> Tensor:
    """Matrix [rows, columns] with values of about 0.02, as bytes [rows, columns / 256 * 144]."""
    blocks = torch.randint(0, 256, (rows, columns // 256, 144), dtype=torch.uint8)
    scales = torch.tensor([1e-4, 8e-4], dtype=torch.float16).view(torch.uint8)  # of the steps and of the offsets
    blocks[..., :4] = scales
    return blocks.flatten(1)


def q4_k_scales(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Steps and offsets [blocks, 8] float32 of a matrix in Q4_K."""
    blocks = packed.view(-1, 144)
    both = blocks[:, :4].contiguous().view(torch.float16).float()
    first, second, third = blocks[:, 4:16].split(4, 1)
    steps = torch.cat((first & 63, third & 15 | first >> 6 << 4), 1)
    offsets = torch.cat((second & 63, third >> 4 | second >> 6 << 4), 1)
    return both[:, :1] * steps, both[:, 1:] * offsets


def q4_k_numbers(packed: Tensor, steps: Tensor, offsets: Tensor) -> Tensor:
    """The numbers of blocks [blocks, 256], to the bit those of the pack's own reader."""
    nibbles = packed.view(-1, 144)[:, 16:].view(-1, 4, 32)
    steps, offsets = steps.view(-1, 4, 2, 1), offsets.view(-1, 4, 2, 1)
    low = (nibbles & 15).float() * steps[:, :, 0] - offsets[:, :, 0]
    high = (nibbles >> 4).float() * steps[:, :, 1] - offsets[:, :, 1]
    return torch.stack((low.to(DTYPE), high.to(DTYPE)), 2)


def block_call(block: nn.Module, x: Tensor, context: Context, execution: Execution) -> Tensor:
    """The function that is compiled: the block is an argument of it, so that all blocks share a graph."""
    return block(x, context, execution)


def seconds_in_turn(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median process CPU-seconds of each way, after a warm-up."""
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():
        run()
    for _ in range(repeats):
        for name, run in ways.items():
            before = time.process_time()
            run()
            samples[name].append(time.process_time() - before)
    return {name: median(each) for name, each in samples.items()}


def inputs(tokens: int) -> tuple[Tensor, Context, Context]:
    """Tokens, what the block sees beside them, and that with turns in real numbers."""
    rope = make_rope(CONFIG.dim // CONFIG.heads, (1, tokens // ROW_OF_TOKENS, ROW_OF_TOKENS))
    text = torch.randn(1, CONFIG.text_tokens, CONFIG.dim).to(DTYPE)
    context = Context(torch.randn(1, 1, 6, CONFIG.dim) * 0.1, rope, text, None)
    return torch.randn(1, tokens, CONFIG.dim).to(DTYPE), context, context._replace(rope=real_turns(rope))


def plain_ways(block: Block, tokens: int) -> dict[str, Callable[[], Tensor]]:
    """Of a block with plain weights."""
    x, context, in_real = inputs(tokens)
    compiled, real = torch.compile(block_call, dynamic=False), rewritten(block)
    return {
        "eager": lambda: block(x.clone(), context, IN_PLACE),
        "compiled": lambda: compiled(block, x, context, FRESH),
        "rewritten": lambda: compiled(real, x, in_real, FRESH),
    }


def stored_ways(block: Block, tokens: int) -> dict[str, Callable[[], Tensor]]:
    """Of a block in Q4_K; its matrices are unpacked for each call."""
    x, context, in_real = inputs(tokens)
    in_q4_k, packed = stored(block)
    real = rewritten(block)
    matrices = {name: real.get_submodule(name) for name in packed}
    compiled, numbers = torch.compile(block_call, dynamic=False), torch.compile(q4_k_numbers, dynamic=True)

    def unpacked_before() -> Tensor:
        for name, layer in matrices.items():
            values = numbers(packed[name], *q4_k_scales(packed[name]))
            layer.weight.data = values.view(layer.weight.shape)
        return compiled(real, x, in_real, FRESH)

    return {"eager": lambda: in_q4_k(x.clone(), context, IN_PLACE), "unpacked": unpacked_before}


def piece_ways(block: Block, tokens: int) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """The ways of each piece by its name."""
    (x, context, in_real), real = inputs(tokens), rewritten(block)
    inner, packed = torch.randn(tokens, CONFIG.ffn_dim).to(DTYPE), random_q4_k(CONFIG.ffn_dim, CONFIG.dim)
    shape, parts = (CONFIG.ffn_dim, CONFIG.dim), {"weight": packed}
    scales = q4_k_scales(packed)

    def turned(attention: SelfAttention, x: Tensor, rope: Tensor) -> Tensor:
        return attention.rotated(attention.norm_q, x, rope, FRESH)

    gelu, sigmoid, turn = torch.compile(block.ffn[1]), torch.compile(real.ffn[1]), torch.compile(turned)
    numbers = torch.compile(q4_k_numbers)
    return {
        f"activation, {tokens} tokens": {
            "eager": lambda: block.ffn[1](inner),
            "compiled": lambda: gelu(inner),
            "rewritten": lambda: sigmoid(inner),
        },
        f"norm and turn, {tokens} tokens": {
            "eager": lambda: turned(block.self_attn, x, context.rope),
            "rewritten": lambda: turn(real.self_attn, x, in_real.rope),
        },
        f"unpacking Q4_K {shape}": {
            "eager": lambda: CODECS["Q4_K"].dequantize(parts, shape, DTYPE),
            "eager, in other words": lambda: q4_k_numbers(packed, *q4_k_scales(packed)).view(shape),
            "rewritten": lambda: numbers(packed, *q4_k_scales(packed)).view(shape),
            "rewritten, scales ready": lambda: numbers(packed, *scales).view(shape),
        },
    }


def report(title: str, ways: Mapping[str, Callable[[], Tensor]], repeats: int) -> None:
    """Prints the seconds of each way, and by how much their results differ from the first one's, in norm."""
    first, *others = [run().float() for run in ways.values()]
    apart = max(float((first - other).norm() / first.norm()) for other in others)
    seconds = seconds_in_turn(ways, repeats)
    told = ", ".join(f"{name} {s:.4f} ({seconds['eager'] / s:.3f}x)" for name, s in seconds.items())
    print(f"{title}: {told}; apart by {apart:.1e}", flush=True)


def report_shares(title: str, run: Callable[[], Tensor]) -> None:
    """Prints the shares of an eager block's time, and how much faster it would be without the rest."""
    run()
    with profile() as profiled:
        for _ in range(3):
            run()
    times = {each.key: each.self_cpu_time_total for each in profiled.key_averages()}
    matrices, attention = (times[name] / sum(times.values()) for name in LEFT_AS_THEY_ARE)
    most = 1 / (matrices + attention)
    print(f"{title}: matrices {matrices:.1%}, attention {attention:.1%}, at most {most:.3f}x", flush=True)


@torch.no_grad()
def main(repeats: int = 7, *tokens: int) -> None:
    torch.manual_seed(0)
    block = Block(CONFIG, nn).to(DTYPE).requires_grad_(False)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} repeats; CPU-seconds of a block")
    for form, make in (("plain", plain_ways), ("Q4_K", stored_ways)):
        for count in tokens or TOKENS:
            torch.compiler.reset()
            ways = make(block, count)
            report_shares(f"{form}, {count} tokens", ways["eager"])
            report(f"{form}, {count} tokens", ways, repeats)
    for title, ways in piece_ways(block, PIECE_TOKENS).items():
        report(title, ways, repeats)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
