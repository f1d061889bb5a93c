"""What tbscreen's gateway, workers and training agree on. Imports none of them."""
