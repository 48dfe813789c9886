"""The words of the house: frozen values and refusals. Standard library only; knows nobody else."""
