"""Settings that belong together, each group a model; `orchestrator.settings` composes them under plain names."""
