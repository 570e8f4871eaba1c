"""The Wan transformer: sizes, inputs, blocks, and the conditioning that goes into it."""
