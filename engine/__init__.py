"""Running the models: loading by recipe, memory, devices and progress around the sampling loop. Nodes are a face of it.

`docs/python.md` shows how to use it from Python.
"""
