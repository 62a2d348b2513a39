"""Measurements: what scoring, training and streaming cost here."""
