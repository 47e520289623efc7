"""What the labs of reward models measure."""
