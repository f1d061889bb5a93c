"""The step `fit-check`: learns to tell a frontal chest radiograph from anything else."""
