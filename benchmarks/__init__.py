"""Speed and memory beside diffusers and transformers: `python -m wan_director.benchmarks`."""
