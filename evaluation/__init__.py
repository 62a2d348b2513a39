"""Metrics, curves, importances, plots and the promotion gate."""
