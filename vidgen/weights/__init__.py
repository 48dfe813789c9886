"""Weights on their way: asked for, fetched, checked, kept and thrown away. The only room that uses the network."""
