"""What models cost, counted on full-size models that hold no memory, and written into their cards."""
