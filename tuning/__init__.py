"""Training small additions to a video model (LoRA, DoRA, norms, biases) on clips and pictures of one's own.

What is trained is put onto the model by `dit.adapters`, as a LoRA that is loaded is. `docs/training.md` is the guide.
"""
