"""The mouth: words in, words out. Decides nothing."""
