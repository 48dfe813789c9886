"""Data: TOML turned into frozen values, or refused."""
