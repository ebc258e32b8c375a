"""`bench gpu` and perf_analyzer: the served models and the whole product, as fast as this machine's GPUs let them."""
