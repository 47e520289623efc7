"""What the labs of markets and fairness measure."""
