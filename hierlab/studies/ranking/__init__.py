"""What the labs of ranking and evaluation measure."""
