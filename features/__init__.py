"""The lead contract, ingest and quarantine, splits, the sample generator and the Spark ML stages."""
