"""The desk: where a person sees what came, decides about it, and has it done again."""
