"""The mind: pure functions that check, measure and choose. No torch, no disk, no clock."""
