"""Kernels in Triton the language (OpenAI's compiler, not NVIDIA's server); operators.py calls them."""
