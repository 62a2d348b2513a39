"""The model registry, the scoring plan, streaming queries and sinks."""
