"""Adaptation and efficiency: find good models, data and designs without evaluating them all."""
