"""Advantage estimators for LLM reinforcement learning: pure functions of columns, one module a method."""
