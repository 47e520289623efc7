"""Trainers and surrogate losses."""
