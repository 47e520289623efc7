"""What the labs of taxonomies and hierarchical text measure."""
