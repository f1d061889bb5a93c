"""Coverage-guided fuzzing of the decode path: `make fuzz`. See docs/hostile-input.md."""
