"""Looking into networks: what their layers are and cost, and what they react to."""
