"""hierlab: methods, labs and published results for hierarchical and credit-aware learning."""

__version__ = "0.1.0"
