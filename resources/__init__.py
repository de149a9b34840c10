"""Data files that travel with the program: presets, tokenizer ranks, the sample text, icons."""
