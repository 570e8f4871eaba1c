"""Reading model files: one module per file format, none of which knows what a model is."""
