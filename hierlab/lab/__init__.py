"""The lab bench."""
