"""Everything that runs Triton or calls it: launcher, supervisor, client, shared memory, retries, watchdog."""
