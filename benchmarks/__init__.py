"""Benchmarks: each command prints one table from one run, both sides in it, with the machine they ran on."""
