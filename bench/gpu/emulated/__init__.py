"""GPUs that a bench emulates: Triton models that take a measured GPU's time and answer blank.

They stand where more GPUs are wanted than are there, to measure everything else that work passes through: Triton's
scheduler and instances, shared memory, the orchestrator, channels, encoders. What only real GPUs have is not in them:
copies over PCIe, the driver, power.
"""
