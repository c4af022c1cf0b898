"""What somebody is doing, from a watch: a prediction that changes and changes back within seconds is doubtful."""
