"""What the labs of adaptation measure."""
