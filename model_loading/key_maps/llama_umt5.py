"""Names of the UMT5 encoder in GGUF files, as llama.cpp gives them -> official names."""

from __future__ import annotations

from .renaming import Renaming

# Source: ggml-org/llama.cpp, gguf-py/gguf/constants.py (TENSOR_NAMES of the T5 encoder).
from_llama_umt5 = Renaming(
    (r"token_embd\.weight", r"token_embedding.weight"),
    (r"enc\.output_norm\.weight", r"norm.weight"),
    (r"enc\.blk\.(\d+)\.attn_([qkvo])\.weight", r"blocks.\1.attn.\2.weight"),
    (r"enc\.blk\.(\d+)\.attn_rel_b\.weight", r"blocks.\1.pos_embedding.embedding.weight"),
    (r"enc\.blk\.(\d+)\.attn_norm\.weight", r"blocks.\1.norm1.weight"),
    (r"enc\.blk\.(\d+)\.ffn_norm\.weight", r"blocks.\1.norm2.weight"),
    (r"enc\.blk\.(\d+)\.ffn_gate\.weight", r"blocks.\1.ffn.gate.0.weight"),
    (r"enc\.blk\.(\d+)\.ffn_up\.weight", r"blocks.\1.ffn.fc1.weight"),
    (r"enc\.blk\.(\d+)\.ffn_down\.weight", r"blocks.\1.ffn.fc2.weight"),
)
