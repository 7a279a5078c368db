"""Training from the command line: `energaizer train`."""
