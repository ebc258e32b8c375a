"""The full-size models as fast as one GPU runs them: fused kernels between the libraries' convolutions and products."""
