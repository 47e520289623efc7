"""What the labs of recommendation measure."""
