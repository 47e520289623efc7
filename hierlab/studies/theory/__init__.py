"""What the labs of theory measure."""
