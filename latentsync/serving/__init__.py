"""What the served models share: an instance's parameters, checks of tensors, batches, and Triton's requests.

Only `tensor_model` and `responses` import Triton's own module, which exists in a model's process alone.
"""
