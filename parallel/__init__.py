"""One video over many devices: who computes which tokens and heads, and what they exchange."""
