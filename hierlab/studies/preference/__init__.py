"""What the labs of preference learning measure."""
